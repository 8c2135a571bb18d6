/* Kernels with a planted fault each, and a good one: the kernel checker has to name every fault and pass the good one.
 * This program fails when the checker does not notice. */
#include "kcheck.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static float reciprocal_norm(const float *x, int64_t n, float eps)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return 1 / sqrtf(sum + eps);
}

static void scale_row(float *y, const float *x, int64_t n, float r)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * r;
}

static void good(float *y, const float *x, int64_t n, float eps)
{
    scale_row(y, x, n, reciprocal_norm(x, n, eps));
}

/* Rounds the tail up to a whole vector: the classic. */
static void writes_past_the_end(float *y, const float *x, int64_t n, float eps)
{
    float r = reciprocal_norm(x, n, eps);
    scale_row(y, x, n, r);
    volatile float *past = y;
    for (int64_t i = n; n > 8 && i % 8 != 0; i++)
        past[i] = r;
}

static void writes_before_the_start(float *y, const float *x, int64_t n, float eps)
{
    good(y, x, n, eps);
    volatile float *before = y;
    if (n == 33)
        before[-1] = 0;
}

/* The sum without its last term: in a row of 1152 it is off by one part in 2304. */
static void drops_a_term(float *y, const float *x, int64_t n, float eps)
{
    scale_row(y, x, n, reciprocal_norm(x, n - (n > 1000), eps));
}

static void leaves_the_tail(float *y, const float *x, int64_t n, float eps)
{
    scale_row(y, x, n > 8 ? n / 8 * 8 : n, reciprocal_norm(x, n, eps));
}

static void changes_its_input(float *y, const float *x, int64_t n, float eps)
{
    good(y, x, n, eps);
    if (n > 100)
        ((float *)(uintptr_t)x)[n - 1] += 1;
}

/* A whole vector is read where only a part of it belongs to the row, and all of it is summed. */
static void uses_what_lies_behind(float *y, const float *x, int64_t n, float eps)
{
    volatile const float *past = x;
    float sum = 0;
    for (int64_t i = 0; i < (n + 7) / 8 * 8; i++)
        sum += past[i] * past[i];
    scale_row(y, x, n, 1 / sqrtf(sum + eps));
}

/* The same, but what does not belong to the row is masked away: wrong only where no memory follows. */
static void reads_past_the_end(float *y, const float *x, int64_t n, float eps)
{
    volatile const float *past = x;
    float unused = n > 0 ? past[n + 3] : 0;
    (void)unused;
    good(y, x, n, eps);
}

/* An aligned load where the contract promises no alignment faults like this. */
static void faults_when_misaligned(float *y, const float *x, int64_t n, float eps)
{
    good(y, x, n, eps);
    if ((uintptr_t)x % 64 != 0)
        raise(SIGSEGV);
}

static void is_not_an_instruction(float *y, const float *x, int64_t n, float eps)
{
    good(y, x, n, eps);
    if (n == 17)
        raise(SIGILL);
}

static void divides_by_zero(float *y, const float *x, int64_t n, float eps)
{
    good(y, x, n, eps);
    if (n == 0)
        raise(SIGFPE);
}

static void hides_a_nan(float *y, const float *x, int64_t n, float eps)
{
    float r = reciprocal_norm(x, n, eps);
    scale_row(y, x, n, r == r ? r : 0);
}

/* The verdict has to contain both. */
static const struct {
    const char *name;
    kl__l2norm_row_fn *variant;
    const char *word, *other_word;
} planted[] = {
    {"writes_past_the_end", writes_past_the_end, "wrote past the end of y", "at byte"},
    {"writes_before_the_start", writes_before_the_start, "n 33", "wrote before y"},
    {"drops_a_term", drops_a_term, "n 1152", "plain C gives"},
    {"leaves_the_tail", leaves_the_tail, "y[8] is ", "nan, plain C gives"},
    {"changes_its_input", changes_its_input, "n 127", "changed its input x"},
    {"uses_what_lies_behind", uses_what_lies_behind, "y[0] is ", "nan, plain C gives"},
    {"reads_past_the_end", reads_past_the_end, "flush", "SIGSEGV"},
    {"faults_when_misaligned", faults_when_misaligned, "shifted", "SIGSEGV"},
    {"is_not_an_instruction", is_not_an_instruction, "n 17", "SIGILL"},
    {"divides_by_zero", divides_by_zero, "n 0", "SIGFPE"},
    {"hides_a_nan", hides_a_nan, "NaN x", "plain C gives nan"},
};

/* A checker that describes no call proves nothing. */
static void check_nothing(kc *c)
{
    (void)c;
}

static int n_wrong;

static void expect(bool passes, const char *name, kl__l2norm_row_fn *variant, kc_check_fn *check, const char *word,
                   const char *other_word)
{
    struct kc_row row = {.slot = "l2norm_row", .isa = name, .check = check};
    row.variant = (kc_any_fn *)variant;
    row.ref = (kc_any_fn *)kl__l2norm_row_ref;
    char verdict[KC_VERDICT_BYTES];
    struct kc_options options = {.seed = 1};
    bool passed = kc_check_row(&row, &options, verdict);
    bool right = passed == passes && strstr(verdict, word) && strstr(verdict, other_word);
    printf("%s %s: %s\n", right ? "as planted" : "NOT NOTICED", name, verdict);
    n_wrong += !right;
}

int main(void)
{
    expect(true, "good", good, check_l2norm_row, "calls", "calls");
    for (size_t i = 0; i < sizeof planted / sizeof *planted; i++)
        expect(false, planted[i].name, planted[i].variant, check_l2norm_row, planted[i].word, planted[i].other_word);
    expect(false, "an empty checker", good, check_nothing, "made no call", "made no call");
    return n_wrong != 0;
}
