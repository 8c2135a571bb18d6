/* Guarded memory.  A region lies between two unmapped pages.  Whatever of it a buffer does not cover is poison that is
 * NaN in every float type, so that a kernel which reads it and uses it is wrong, and one which writes it is seen. */
#define _GNU_SOURCE
#include "kc_internal.h"

#include "base/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

size_t kc_element_bytes(enum kc_type type)
{
    return type == KC_BF16 ? 2 : type == KC_BYTES ? 1 : 4;
}

/* ff a5 ff a5: as f32 and as bf16 a NaN; the parity of the address decides, so that any element reads it whole. */
static unsigned char poison_at(const unsigned char *p)
{
    return (uintptr_t)p & 1 ? 0xff : 0xa5;
}

static void poison(unsigned char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = poison_at(p + i);
}

static void *must(void *memory)
{
    if (memory && memory != MAP_FAILED)
        return memory;
    perror("kcheck");
    exit(2);
}

static void release_region(struct kc_region *r)
{
    if (r->base)
        munmap(r->base - PAGE, r->bytes + 2 * PAGE);
    *r = (struct kc_region){0};
}

static void grow_region(struct kc_region *r, size_t bytes)
{
    if (r->bytes >= bytes)
        return;
    release_region(r);
    bytes = (bytes + bytes / 2 + PAGE - 1) / PAGE * PAGE;
    unsigned char *all = must(mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (mprotect(all + PAGE, bytes, PROT_READ | PROT_WRITE) != 0)
        must(NULL);
    *r = (struct kc_region){.base = all + PAGE, .bytes = bytes};
}

/* Where a buffer lies in its region.  Shifts differ from buffer to buffer, so that operands are out of step. */
static unsigned char *place(const kc *c, const struct kc_region *r, size_t bytes, size_t align, int index)
{
    size_t first = (KC_BORDER + align - 1) / align * align;
    if (c->placement == KC_PLACE_ALIGNED)
        return r->base + (first + 63) / 64 * 64;
    if (c->placement == KC_PLACE_SHIFTED)
        return r->base + first + align * (size_t)(1 + index % 3);
    return r->base + (r->bytes - bytes) / align * align;
}

static void *add(kc *c, const char *name, enum kc_type type, enum kc_role role, int64_t n, double tolerance)
{
    if (c->n_buffer == KC_MAX_BUFFER || n < 0) {
        fprintf(stderr, "kcheck: %s: buffer %d, %s, of %lld elements: more than the harness holds\n", c->row->slot,
                c->n_buffer, name, (long long)n);
        exit(2);
    }
    int index = c->n_buffer++;
    struct kc_region *r = &c->region[index];
    size_t bytes = (size_t)n * kc_element_bytes(type), align = kc_element_bytes(type);
    if (align < c->align)
        align = c->align;
    grow_region(r, bytes + 2 * KC_BORDER + 5 * align + 64);
    struct kc_buffer b = {.name = name, .type = type, .role = role, .n = n, .bytes = bytes, .tolerance = tolerance};
    b.data = place(c, r, bytes, align, index);
    size_t room = (size_t)(r->base + r->bytes - b.data) - bytes;
    b.border_after = room < KC_BORDER ? room : KC_BORDER;
    b.initial = must(malloc(bytes + 1));
    b.want = must(malloc(bytes + 1));
    poison(b.data - KC_BORDER, KC_BORDER + bytes + b.border_after);
    c->buffer[index] = b;
    return b.data;
}

static float *filled(kc *c, float *x, int64_t n, enum kc_fill fill)
{
    kc_refill(c, x, n, fill);
    return x;
}

static uint16_t *filled_bf16(kc *c, uint16_t *x, int64_t n, enum kc_fill fill)
{
    for (int64_t i = 0; i < n; i++) {
        float wide;
        kc_refill(c, &wide, 1, fill);
        x[i] = kl__bf16_of_f32(wide);
    }
    return x;
}

float *kc_in(kc *c, const char *name, int64_t n, enum kc_fill fill)
{
    return filled(c, add(c, name, KC_F32, KC_ROLE_IN, n, 0), n, fill);
}

uint16_t *kc_in_bf16(kc *c, const char *name, int64_t n, enum kc_fill fill)
{
    return filled_bf16(c, add(c, name, KC_BF16, KC_ROLE_IN, n, 0), n, fill);
}

int32_t *kc_in_i32(kc *c, const char *name, int64_t n)
{
    return memset(add(c, name, KC_I32, KC_ROLE_IN, n, 0), 0, (size_t)n * 4);
}

void *kc_in_bytes(kc *c, const char *name, int64_t n)
{
    return memset(add(c, name, KC_BYTES, KC_ROLE_IN, n, 0), 0, (size_t)n);
}

float *kc_in_rows(kc *c, const char *name, int64_t n, int64_t K, int64_t ld, enum kc_fill fill, float pad)
{
    float *x = add(c, name, KC_F32, KC_ROLE_IN, n * ld, 0);
    for (int64_t r = 0; r < n; r++) {
        kc_refill(c, x + r * ld, K, fill);
        for (int64_t j = K; j < ld; j++)
            x[r * ld + j] = pad;
    }
    return x;
}

float *kc_out(kc *c, const char *name, int64_t n, double tolerance)
{
    return add(c, name, KC_F32, KC_ROLE_OUT, n, tolerance);
}

uint16_t *kc_out_bf16(kc *c, const char *name, int64_t n, double tolerance)
{
    return add(c, name, KC_BF16, KC_ROLE_OUT, n, tolerance);
}

int32_t *kc_out_i32(kc *c, const char *name, int64_t n)
{
    return add(c, name, KC_I32, KC_ROLE_OUT, n, 0);
}

void *kc_out_bytes(kc *c, const char *name, int64_t n)
{
    return add(c, name, KC_BYTES, KC_ROLE_OUT, n, 0);
}

float *kc_inout(kc *c, const char *name, int64_t n, enum kc_fill fill, double tolerance)
{
    return filled(c, add(c, name, KC_F32, KC_ROLE_INOUT, n, tolerance), n, fill);
}

uint16_t *kc_inout_bf16(kc *c, const char *name, int64_t n, enum kc_fill fill, double tolerance)
{
    return filled_bf16(c, add(c, name, KC_BF16, KC_ROLE_INOUT, n, tolerance), n, fill);
}

float *kc_scratch(kc *c, const char *name, int64_t n)
{
    return add(c, name, KC_F32, KC_ROLE_SCRATCH, n, 0);
}

void kc_cancels(kc *c, double magnitude)
{
    c->buffer[c->n_buffer - 1].magnitude = magnitude;
}

void kc_each(kc *c, double least)
{
    kc_cancels(c, least);
    c->buffer[c->n_buffer - 1].each = true;
}

void kc_align(kc *c, int64_t bytes)
{
    c->align = (size_t)bytes;
}

void kc_keep(kc *c)
{
    for (int i = 0; i < c->n_buffer; i++)
        memcpy(c->buffer[i].initial, c->buffer[i].data, c->buffer[i].bytes);
}

void kc_restore(kc *c)
{
    for (int i = 0; i < c->n_buffer; i++)
        memcpy(c->buffer[i].data, c->buffer[i].initial, c->buffer[i].bytes);
}

static bool border_intact(kc *c, const struct kc_buffer *b, const char *who)
{
    for (size_t i = 1; i <= KC_BORDER; i++)
        if (b->data[-(ptrdiff_t)i] != poison_at(b->data - i))
            return kc_fail(c, "%s wrote before %s, at byte -%zu", who, b->name, i), false;
    for (size_t i = 0; i < b->border_after; i++)
        if (b->data[b->bytes + i] != poison_at(b->data + b->bytes + i))
            return kc_fail(c, "%s wrote past the end of %s, at byte %zu", who, b->name, b->bytes + i), false;
    return true;
}

bool kc_untouched(kc *c, const char *who)
{
    for (int i = 0; i < c->n_buffer; i++) {
        const struct kc_buffer *b = &c->buffer[i];
        if (!border_intact(c, b, who))
            return false;
        if (b->role == KC_ROLE_IN && memcmp(b->data, b->initial, b->bytes) != 0)
            return kc_fail(c, "%s changed its input %s", who, b->name), false;
    }
    return true;
}

void kc_keep_want(kc *c)
{
    for (int i = 0; i < c->n_buffer; i++)
        memcpy(c->buffer[i].want, c->buffer[i].data, c->buffer[i].bytes);
}

static double number_at(const struct kc_buffer *b, const unsigned char *data, int64_t i)
{
    uint32_t word = 0;
    memcpy(&word, data + (size_t)i * kc_element_bytes(b->type), kc_element_bytes(b->type));
    switch (b->type) {
    case KC_F32:
        return (double)kl__f32_of_bits(word);
    case KC_BF16:
        return (double)kl__f32_of_bf16((uint16_t)word);
    default:
        return (double)(int32_t)word;
    }
}

static double rms_of_want(const struct kc_buffer *b)
{
    double square = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < b->n; i++) {
        double x = number_at(b, b->want, i);
        if (isfinite(x)) {
            square += x * x;
            n++;
        }
    }
    return n ? sqrt(square / (double)n) : 0;
}

static bool agrees(const struct kc_buffer *b, int64_t i, double scale)
{
    double got = number_at(b, b->data, i), want = number_at(b, b->want, i);
    size_t bytes = kc_element_bytes(b->type), at = (size_t)i * bytes;
    if (isnan(want))
        return isnan(got);
    if (b->tolerance == 0)
        return memcmp(b->data + at, b->want + at, bytes) == 0;
    if (isinf(want))
        return got == want;
    return fabs(got - want) <= b->tolerance * fmax(fabs(want), scale);
}

static void compare_buffer(kc *c, const struct kc_buffer *b)
{
    double scale = b->each ? b->magnitude : fmax(rms_of_want(b), b->magnitude);
    for (int64_t i = 0; i < b->n; i++)
        if (!agrees(b, i, scale)) {
            kc_fail(c, "%s[%lld] is %.9g, plain C gives %.9g (tolerance %.2g of %.3g)", b->name, (long long)i,
                    number_at(b, b->data, i), number_at(b, b->want, i), b->tolerance, scale);
            return;
        }
}

void kc_compare(kc *c)
{
    for (int i = 0; i < c->n_buffer && !c->failed; i++)
        if (c->buffer[i].role == KC_ROLE_OUT || c->buffer[i].role == KC_ROLE_INOUT)
            compare_buffer(c, &c->buffer[i]);
}

void kc_forget(kc *c)
{
    for (int i = 0; i < c->n_buffer; i++) {
        free(c->buffer[i].initial);
        free(c->buffer[i].want);
    }
    c->n_buffer = 0;
    c->align = 0;
}

void kc_free(kc *c)
{
    kc_forget(c);
    for (int i = 0; i < KC_MAX_BUFFER; i++)
        release_region(&c->region[i]);
}
