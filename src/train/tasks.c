/* Symbols are the first ids of the vocabulary; what is special to a task comes behind them. */
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "klinear/kl_train.h"

enum { N_STACK = 64, LEAST = 8, MOST = 1 << 20 };

const char *kl_task_name(kl_task_kind task)
{
    static const char *const name[KL_N_TASK] = {"palindrome", "mqar", "stack", "needle"};
    return (unsigned)task < KL_N_TASK ? name[task] : "?";
}

static int64_t n_pair(const kl_task *k)
{
    int64_t usual = k->kind == KL_TASK_MQAR ? k->length / 8 : k->length < 4 * 8 ? 1 : 8;
    return k->n_pair ? k->n_pair : usual;
}

static bool has_pairs(const kl_task *k)
{
    return k->kind == KL_TASK_MQAR || k->kind == KL_TASK_NEEDLE;
}

static int64_t n_symbol(const kl_task *k)
{
    int64_t least = k->kind == KL_TASK_MQAR ? 2 * n_pair(k) : 64, usual = k->kind == KL_TASK_MQAR ? 256 : 64;
    return k->n_symbol ? k->n_symbol : least > usual ? least : usual;
}

static kl_status check(const kl_task *k, kl_error *err)
{
    if ((unsigned)k->kind >= KL_N_TASK)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_task: kind is %d, expected 0 .. %d", (int)k->kind, KL_N_TASK - 1);
    if (k->length < LEAST || k->length > MOST)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_task: length is %lld, expected %d .. %d", (long long)k->length, LEAST,
                        MOST);
    if (n_symbol(k) < 2 || n_symbol(k) > MOST)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_task: n_symbol is %lld, expected 2 .. %d", (long long)n_symbol(k),
                        MOST);
    if (has_pairs(k) && (n_pair(k) < 1 || n_pair(k) > n_symbol(k) || 3 * n_pair(k) + 1 > k->length))
        return kl__fail(err, KL_ERR_ARGUMENT,
                        "kl_task: n_pair is %lld, expected 1 .. %lld, the symbols, and at most a "
                        "third of the length",
                        (long long)n_pair(k), (long long)n_symbol(k));
    return KL_OK;
}

kl_status kl_task_vocab(int64_t *n_vocab, const kl_task *k, kl_error *err)
{
    KL_TRY(check(k, err));
    switch (k->kind) {
    case KL_TASK_PALINDROME:
        *n_vocab = n_symbol(k) + 2; /* separator, blank */
        break;
    case KL_TASK_MQAR:
        *n_vocab = 2 * n_symbol(k) + 2; /* keys, values, separator, blank */
        break;
    case KL_TASK_NEEDLE:
        *n_vocab = 3 * n_symbol(k) + 2; /* hay, keys, values, mark, blank */
        break;
    default:
        *n_vocab = n_symbol(k) + N_STACK + 3; /* elements, stacks, push, pop, blank */
    }
    return KL_OK;
}

static void palindrome(const kl_task *k, struct kl__random *r, int32_t *token, int32_t *label)
{
    int32_t separator = (int32_t)n_symbol(k);
    int64_t n = (k->length - 1) / 2;
    for (int64_t i = 0; i < n; i++)
        token[i] = token[2 * n - i] = (int32_t)kl__random_below(r, n_symbol(k));
    token[n] = separator;
    for (int64_t i = n; i < 2 * n; i++)
        label[i] = token[i + 1];
}

/* The first `n` of a random order of 0 .. all - 1; order has room for all. */
static void draw(struct kl__random *r, int32_t *order, int64_t all, int64_t n)
{
    for (int64_t i = 0; i < all; i++)
        order[i] = (int32_t)i;
    for (int64_t i = 0; i < n; i++) {
        int64_t other = i + kl__random_below(r, all - i);
        int32_t x = order[i];
        order[i] = order[other];
        order[other] = x;
    }
}

/* memory: keys, then places of the questions. */
static void recall(const kl_task *k, struct kl__random *r, int32_t *memory, int32_t *token, int32_t *label)
{
    int64_t n = n_pair(k), symbols = n_symbol(k), places = k->length - 2 * n - 1;
    int32_t *key = memory, *place = memory + symbols;
    draw(r, key, symbols, n);
    draw(r, place, places, n);
    token[2 * n] = (int32_t)(2 * symbols);
    for (int64_t i = 0; i < n; i++) {
        int32_t value = (int32_t)(symbols + kl__random_below(r, symbols));
        int64_t at = 2 * n + 1 + place[i];
        token[2 * i] = token[at] = key[i];
        token[2 * i + 1] = label[at] = value;
    }
}

/* memory: keys, then places of the needles, two tokens each. */
static void needles(const kl_task *k, struct kl__random *r, int32_t *memory, int32_t *token, int32_t *label)
{
    int64_t n = n_pair(k), symbols = n_symbol(k), hay = k->length - n - 1;
    int32_t *key = memory, *place = memory + symbols;
    draw(r, key, symbols, n);
    draw(r, place, hay / 2, n);
    for (int64_t t = 0; t < hay; t++)
        token[t] = (int32_t)kl__random_below(r, symbols);
    token[hay] = (int32_t)(3 * symbols);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 2 * (int64_t)place[i], asked = hay + 1 + i;
        token[at] = token[asked] = (int32_t)symbols + key[i];
        token[at + 1] = label[asked] = (int32_t)(2 * symbols + kl__random_below(r, symbols));
    }
}

/* memory: the element below each push, and the top push of each stack. */
static void stacks(const kl_task *k, struct kl__random *r, int32_t *memory, int32_t *token, int32_t *label)
{
    int32_t first = (int32_t)n_symbol(k), push = first + N_STACK, pop = push + 1;
    int32_t *below = memory, *top = memory + k->length, n_full = 0, full[N_STACK];
    for (int i = 0; i < N_STACK; i++)
        top[i] = -1;
    for (int64_t t = 0; t + 3 <= k->length; t += 3) {
        if (n_full > 0 && kl__random_below(r, 2)) {
            int32_t at = (int32_t)kl__random_below(r, n_full), i = full[at];
            token[t] = pop;
            token[t + 1] = first + i;
            token[t + 2] = label[t + 1] = token[top[i]];
            top[i] = below[top[i]];
            if (top[i] < 0)
                full[at] = full[--n_full];
        } else {
            int32_t i = (int32_t)kl__random_below(r, N_STACK), at = (int32_t)t + 2;
            token[t] = push;
            token[t + 1] = first + i;
            token[t + 2] = (int32_t)kl__random_below(r, n_symbol(k));
            if (top[i] < 0)
                full[n_full++] = i;
            below[at] = top[i];
            top[i] = at;
        }
    }
}

kl_status kl_task_sequence(const kl_task *k, uint64_t index, int32_t *token, int32_t *label, kl_error *err)
{
    int64_t n_vocab;
    KL_TRY(kl_task_vocab(&n_vocab, k, err));
    struct kl__random r = kl__random(k->seed, index);
    int32_t *memory = kl__alloc(NULL, (size_t)(k->length + n_symbol(k) + N_STACK) * sizeof *memory);
    if (!memory)
        return kl__fail(err, KL_ERR_MEMORY, "kl_task: no memory for a sequence of %lld tokens", (long long)k->length);
    for (int64_t i = 0; i < k->length; i++) {
        token[i] = (int32_t)n_vocab - 1; /* blank */
        label[i] = -1;
    }
    if (k->kind == KL_TASK_PALINDROME)
        palindrome(k, &r, token, label);
    else if (k->kind == KL_TASK_MQAR)
        recall(k, &r, memory, token, label);
    else if (k->kind == KL_TASK_NEEDLE)
        needles(k, &r, memory, token, label);
    else
        stacks(k, &r, memory, token, label);
    kl__release(NULL, memory);
    return KL_OK;
}
