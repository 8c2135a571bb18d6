# check_style.sh must see each planted line, and nothing else.
. "$(dirname "$0")/lib.sh"

plant src/base/memory.c <<'END'
void *take(void) { return malloc(1); }
END
plant src/ops/kda.c <<'END'
/* The snprintf of the C library and strtok_of_ours( are fine. */
int fine(void) { return snprintf_like(fgets); }
END
plant src/cpu/kda.c </dev/null
plant src/cpu/kernels/vec/kda.h </dev/null
plant src/cpu/kernels/ref/rows.def </dev/null
plant src/cpu/kernels/x86/rows.def </dev/null
plant tests/unit/test_a.c <<'END'
int main(void) { printf("tests may print\n"); }
END
expect_fine "$tools/check_style.sh" "$tree"

printf 'int\tx;\n' | plant src/base/tab.c
printf 'int x; \n' | plant src/base/space.c
printf 'int x;' | plant src/base/end.c
{ printf '%0121d' 0 | sed 's/^/ /; s/0/x/g'; echo; } | cut -c1-121 | plant src/base/long.c
word=TO'DO' tab=$(printf '\t')
plant src/base/words.c <<END
/* $word: think */
void a(char *s) { strcpy(s, "x"); }
int b(char *s) { return atoi(s); }
void c(void) { printf("hello"); }
void d(void) { exit(1); }
void *e(void) { return calloc (1, 1); }
// a line comment
int f(char *s) { return rand() + (strtok(s, "") != 0); }
END
plant src/cpu/backend.c <<'END'
void *open_it(void) { return kl__alloc(0, 64); }
END
plant src/cpu/hot.c <<'END'
void *hot(void) { return kl__alloc(0, 64); }
END
plant src/cpu/kernels/x86/deep/tab.c </dev/null
plant src/cpu/kernels/ref/tab.c </dev/null
plant tests/unit/test_b.c <<'END'
int main(void) { char s[9]; sprintf(s, "no size"); }
END
xs=$(printf '%0120d' 0 | tr 0 x)
expect_caught "$tools/check_style.sh" "$tree" <<END
src/base/tab.c:1:int${tab}x;: a tab
src/base/space.c:1:int x; : space at the end of the line
src/base/end.c:0: no newline at the end
src/base/long.c:1: $xs: more than 120 columns
src/base/words.c:1:/* $word: think */: say it as a sentence, or do it
src/base/words.c:2:void a(char *s) { strcpy(s, "x"); }: use a function that knows the size
src/base/words.c:3:int b(char *s) { return atoi(s); }: use strtol and look at the end
src/base/words.c:4:void c(void) { printf("hello"); }: the library does not print
src/base/words.c:5:void d(void) { exit(1); }: the library does not exit
src/base/words.c:6:void *e(void) { return calloc (1, 1); }: memory comes from base/memory.h
src/base/words.c:7:// a line comment: a comment block, not //
src/base/words.c:8:int f(char *s) { return rand() + (strtok(s, "") != 0); }: keeps hidden state
src/cpu/hot.c:1:void *hot(void) { return kl__alloc(0, 64); }: operators allocate nothing
src/cpu/kernels/tab.c: more than one file of this name in the room
tests/unit/test_b.c:1:int main(void) { char s[9]; sprintf(s, "no size"); }: use a function that knows the size
END
