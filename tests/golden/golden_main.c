/* golden OP: every golden case of operator OP at every level of this machine, in f32 and, where the inputs are exact in
 * bf16, in bf16.  One test per row of ops.def; an operator without vectors or without a runner fails or does not
 * link. */
#include "golden/golden.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *op;
    golden_runner *run;
} runners[] = {
#define OP(x) {#x, golden_##x},
#include "ops/ops.def"
#undef OP
};

static int chosen = -1;

static void golden_cases(void **state)
{
    (void)state;
    golden_file *file = golden_open(runners[chosen].op);
    for (int i = 0; i < file->n_case; i++)
        for (int l = 0; kt_level(l); l++)
            for (int half = 0; half <= golden_number(&file->item[i], "exact16", 0); half++) {
                golden_run r = {&file->item[i], kt_backend(kt_level(l), 2), half};
                runners[chosen].run(&r);
                kt_free_all();
            }
    print_message("%d cases of %s\n", file->n_case, runners[chosen].op);
    golden_close(file);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof runners / sizeof *runners; i++)
        if (strcmp(runners[i].op, argv[1]) == 0)
            chosen = (int)i;
    if (chosen < 0) {
        fprintf(stderr, "usage: golden OP, with an OP of src/ops/ops.def\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_cases)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
