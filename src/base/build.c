#define _GNU_SOURCE
#include "base/build.h"

#include "base/hash.h"
#include "klinear/kl/base.h"

#include <string.h>

#if defined(__linux__)
#include <link.h>

/* What is looked for: the object that `address` lies in, and the note in it. */
struct search {
    uintptr_t address;
    const unsigned char *note; /* [bytes] */
    size_t bytes;
};

/* The build ID among the notes of a segment [bytes]. */
static void read_notes(struct search *s, const unsigned char *at, size_t bytes)
{
    while (bytes >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) head;
        memcpy(&head, at, sizeof head);
        size_t name = ((size_t)head.n_namesz + 3) / 4 * 4, text = ((size_t)head.n_descsz + 3) / 4 * 4;
        if (sizeof head + name + text > bytes)
            return;
        if (head.n_type == NT_GNU_BUILD_ID && head.n_namesz == 4 && memcmp(at + sizeof head, "GNU", 4) == 0) {
            s->note = at + sizeof head + name;
            s->bytes = head.n_descsz;
            return;
        }
        at += sizeof head + name + text;
        bytes -= sizeof head + name + text;
    }
}

static int look(struct dl_phdr_info *object, size_t bytes, void *user)
{
    struct search *s = user;
    bool ours = false;
    (void)bytes;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &object->dlpi_phdr[i];
        uintptr_t first = object->dlpi_addr + p->p_vaddr;
        ours |= p->p_type == PT_LOAD && s->address >= first && s->address - first < p->p_memsz;
    }
    for (int i = 0; ours && !s->note && i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &object->dlpi_phdr[i];
        if (p->p_type == PT_NOTE)
            read_notes(s, (const unsigned char *)object->dlpi_addr + p->p_vaddr, p->p_memsz);
    }
    return ours;
}

static void add_note(struct kl__hash *h)
{
    static const char here = 0;
    struct search s = {.address = (uintptr_t)&here};
    dl_iterate_phdr(look, &s);
    if (s.note)
        kl__hash_add(h, s.note, s.bytes);
}
#else
static void add_note(struct kl__hash *h)
{
    (void)h;
}
#endif

void kl__build_id(uint8_t id[16])
{
    struct kl__hash *h = kl__hash_open();
    memset(id, 0, 16);
    if (!h)
        return;
    kl__hash_add(h, kl_version(), strlen(kl_version()));
    kl__hash_add(h, __VERSION__, strlen(__VERSION__));
    add_note(h);
    kl__hash_value(h, id);
    kl__hash_close(h);
}
