#include "golden/golden.h"

#include "base/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------ the file -- */

/* As it stands in the file: 72 bytes, little-endian like every machine this runs on. */
struct record {
    char name[32];
    char type[4];
    int32_t n_dim;
    int64_t dim[4];
};

static void read_all(FILE *f, void *to, size_t bytes, const char *path)
{
    if (bytes && fread(to, 1, bytes, f) != bytes)
        fail_msg("%s ends in the middle of a record", path);
}

static size_t element_bytes(char type)
{
    return type == 'd' || type == 'l' ? 8 : 4;
}

static void read_array(FILE *f, golden_array *a, const struct record *r, const char *path)
{
    memcpy(a->name, r->name, sizeof r->name);
    a->type = r->type[0] == 'i' ? (r->type[1] == '6' ? 'l' : 'i') : (r->type[1] == '6' ? 'd' : 'f');
    a->n_dim = r->n_dim;
    a->n = 1;
    for (int i = 0; i < 4; i++)
        a->n *= a->dim[i] = r->dim[i];
    size_t bytes = ((size_t)a->n * element_bytes(a->type) + 7) / 8 * 8;
    a->data = malloc(bytes ? bytes : 1);
    assert_non_null(a->data);
    read_all(f, a->data, bytes, path);
}

static golden_case *add_case(golden_file *file, const struct record *r)
{
    file->item = realloc(file->item, (size_t)(file->n_case + 1) * sizeof *file->item);
    assert_non_null(file->item);
    golden_case *c = &file->item[file->n_case++];
    memset(c, 0, sizeof *c);
    memcpy(c->name, r->name, sizeof r->name);
    return c;
}

golden_file *golden_open(const char *op)
{
    char path[512], magic[8];
    snprintf(path, sizeof path, "%s/%s.klg", KT_GOLDEN_DIR, op);
    FILE *f = fopen(path, "rb");
    golden_file *file = calloc(1, sizeof *file);
    assert_non_null(file);
    if (!f)
        fail_msg("%s cannot be read", path);
    read_all(f, magic, sizeof magic, path);
    assert_memory_equal(magic, "KLGOLDEN", sizeof magic);
    golden_case *c = NULL;
    for (struct record r; fread(&r, sizeof r, 1, f) == 1;)
        if (memcmp(r.type, "case", 4) == 0) {
            c = add_case(file, &r);
        } else {
            assert_true(c && c->n_array < GOLDEN_MAX_ARRAYS);
            read_array(f, &c->array[c->n_array++], &r, path);
        }
    fclose(f);
    assert_true(file->n_case > 0);
    return file;
}

void golden_close(golden_file *file)
{
    for (int i = 0; i < file->n_case; i++)
        for (int j = 0; j < file->item[i].n_array; j++)
            free(file->item[i].array[j].data);
    free(file->item);
    free(file);
}

const golden_array *golden_find(const golden_case *c, const char *name)
{
    for (int i = 0; i < c->n_array; i++)
        if (strcmp(c->array[i].name, name) == 0)
            return &c->array[i];
    return NULL;
}

double golden_number(const golden_case *c, const char *name, double otherwise)
{
    const golden_array *a = golden_find(c, name);
    if (!a)
        return otherwise;
    assert_int_equal(a->n_dim, 0);
    return a->type == 'd' ? *(const double *)a->data : (double)*(const int64_t *)a->data;
}

/* ------------------------------------------------------------------------------------------------------- tensors -- */

static kl_tensor shaped(const golden_array *a, void *data, kl_dtype dtype)
{
    return kl_view(data, dtype, a->n_dim, a->dim[0], a->dim[1], a->dim[2], a->dim[3]);
}

static kl_tensor input(const golden_run *r, const char *name, bool half)
{
    const golden_array *a = golden_find(r->c, name);
    if (!a)
        return (kl_tensor){0};
    assert_true(a->type == 'f' || a->type == 'i');
    void *copy = kt_bytes((size_t)a->n * 4);
    memcpy(copy, a->data, (size_t)a->n * 4);
    if (a->type == 'i')
        return shaped(a, copy, KL_I32);
    return half ? shaped(a, kt_bf16_of(copy, a->n), KL_BF16) : shaped(a, copy, KL_F32);
}

kl_tensor golden_input(const golden_run *r, const char *name)
{
    return input(r, name, false);
}

kl_tensor golden_half(const golden_run *r, const char *name)
{
    return input(r, name, r->half);
}

const int64_t *golden_int64s(const golden_run *r, const char *name, int64_t *n)
{
    const golden_array *a = golden_find(r->c, name);
    if (n)
        *n = a ? a->n : 0;
    assert_true(!a || a->type == 'l');
    return a ? a->data : NULL;
}

kl_tensor golden_output(const golden_run *r, const char *name)
{
    const golden_array *a = golden_find(r->c, name);
    return a ? shaped(a, kt_floats(a->n), a->type == 'i' ? KL_I32 : KL_F32) : (kl_tensor){0};
}

kl_tensor golden_half_output(const golden_run *r, const char *name)
{
    const golden_array *a = golden_find(r->c, name);
    return a && r->half ? shaped(a, kt_bytes((size_t)a->n * 2), KL_BF16) : golden_output(r, name);
}

kl_tensor golden_sum(const golden_run *r, const char *name)
{
    const golden_array *a = golden_find(r->c, name);
    return a ? shaped(a, kt_zeros(a->n), KL_F32) : (kl_tensor){0};
}

/* ------------------------------------------------------------------------------------------------------ verdicts -- */

static float element(kl_tensor t, int64_t i)
{
    return t.dtype == KL_BF16 ? kl__f32_of_bf16(((const uint16_t *)t.data)[i]) : ((const float *)t.data)[i];
}

void golden_expect(const golden_run *r, const char *name, kl_tensor got, double times, double tolerance)
{
    const golden_array *want = golden_find(r->c, name);
    if (got.n_dim == 0)
        return;
    assert_non_null(want);
    if (got.dtype == KL_I32) {
        if (memcmp(got.data, want->data, (size_t)want->n * 4) != 0)
            fail_msg("%s of case %s on %s differs", name, r->c->name, kl_backend_isa(r->be));
        return;
    }
    assert_int_equal(want->type, 'd');
    float *a = malloc((size_t)(want->n + 1) * sizeof *a);
    double *b = malloc((size_t)(want->n + 1) * sizeof *b);
    assert_true(a && b);
    for (int64_t i = 0; i < want->n; i++) {
        a[i] = element(got, i);
        b[i] = times * ((const double *)want->data)[i];
    }
    double ratio = kt_ratio64(a, b, want->n), allowed = fmax(tolerance, golden_number(r->c, "tolerance", 0));
    allowed += got.dtype == KL_BF16 ? 0x1p-9 : 0;
    free(a);
    free(b);
    if (!(ratio <= allowed))
        fail_msg("%s of case %s on %s%s: relative error %.3g, expected at most %.3g", name, r->c->name,
                 kl_backend_isa(r->be), r->half ? " in bf16" : "", ratio, allowed);
}

void golden_expect64(const golden_run *r, const char *name, const double *got, double tolerance)
{
    const golden_array *want = golden_find(r->c, name);
    if (!got || !want)
        return;
    const double *w = want->data;
    double difference = 0, reference = 0;
    for (int64_t i = 0; i < want->n; i++) {
        difference += (got[i] - w[i]) * (got[i] - w[i]);
        reference += w[i] * w[i];
    }
    if (!(sqrt(difference) <= tolerance * sqrt(reference)))
        fail_msg("%s of case %s in float64: error %.3g of %.3g", name, r->c->name, sqrt(difference), sqrt(reference));
}
