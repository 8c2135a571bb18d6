/* base: the memory that there is, of machines and containers that are made up. */
#include "support/kt_file.h"

#include "base/ram.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *root; /* of the machine */

/* A file of it, with the folders around it. */
static void put(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *end = strchr(path + strlen(root) + 1, '/'); end; end = strchr(end + 1, '/')) {
        *end = 0;
        mkdir(path, 0777);
        *end = '/';
    }
    kt_write_file(path, text, strlen(text));
}

static void new_machine(const char *name, const char *group)
{
    root = kt_make_directory(name);
    put("/proc/meminfo", "MemTotal:       16384 kB\nMemFree:          100 kB\nMemAvailable:    8192 kB\n");
    put("/proc/self/cgroup", group);
}

static void assert_ram(int64_t kib, int64_t free_kib)
{
    struct kl__ram m = kl__ram_below(root);
    assert_int_equal(m.bytes, kib << 10);
    assert_int_equal(m.free_bytes, free_kib << 10);
}

static void without_limits(void **state)
{
    (void)state;
    new_machine("plain", "0::/user/session\n");
    assert_ram(16384, 8192);
    put("/sys/fs/cgroup/user/memory.max", "max\n");
    put("/sys/fs/cgroup/user/session/memory.max", "33554432\n"); /* more than there is */
    assert_ram(16384, 8192);
    kt_remove_files();
}

static void of_this_machine(void **state)
{
    (void)state;
    struct kl__ram m = kl__ram();
    assert_true(m.bytes > 0 && m.free_bytes > 0 && m.free_bytes <= m.bytes);
}

/* What a group uses is its programs', but for pages of files that can be given up. */
static void version_2(void **state)
{
    (void)state;
    new_machine("two", "0::/pod/one\n");
    put("/sys/fs/cgroup/pod/one/memory.max", "4194304\n");
    put("/sys/fs/cgroup/pod/one/memory.current", "2097152\n");
    assert_ram(4096, 2048);
    put("/sys/fs/cgroup/pod/one/memory.stat", "anon 1048576\nfile 1048576\ninactive_file 1048576\nactive_file 0\n");
    assert_ram(4096, 3072);
    put("/sys/fs/cgroup/pod/memory.max", "2097152\n"); /* the group above bears less */
    put("/sys/fs/cgroup/pod/memory.current", "2097152\n");
    assert_ram(2048, 0);
    kt_remove_files();
}

/* The name is that of the host; what the container sees is its own group, at the top. */
static void version_1_in_a_container(void **state)
{
    (void)state;
    new_machine("one", "11:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4194304\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
    put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 0\ntotal_inactive_file 524288\n");
    assert_ram(4096, 3584);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    assert_ram(16384, 8192);
    kt_remove_files();
}

static void files_that_are_none(void **state)
{
    (void)state;
    new_machine("odd", "\n:\n0:\n4:memory\n0::\nnothing");
    put("/sys/fs/cgroup/memory.max", "many\n");
    assert_ram(16384, 8192);
    put("/sys/fs/cgroup/memory.max", "");
    assert_ram(16384, 8192);
    kt_remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits),           cmocka_unit_test(of_this_machine),     cmocka_unit_test(version_2),
        cmocka_unit_test(version_1_in_a_container), cmocka_unit_test(files_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
