/* Files that must not be loaded as plugins: the loader would hang, crash, or run a stranger's code.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "temp_files.h"

#include <elf.h>
#include <link.h>

#define MIXTRAL AWQ_TEST_PLUGINS "/awq-arch-mixtral.so"
#define NAME "awq-arch-x.so"

/* Lists the plugins of a path: the reason for which the only one is refused, "" if it is not. */
static void gives(const char *path, const char *reason)
{
    awq_context *ctx;
    awq_plugin_list *list;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    assert_int_equal(awq_context_add_plugin_path(ctx, path), AWQ_OK);
    assert_int_equal(awq_plugin_list_create(ctx, &list), AWQ_OK);
    assert_int_equal(awq_plugin_list_count(list), 1);
    const char *found = awq_plugin_list_at(list, 0)->error;
    if (reason[0] ? !strstr(found, reason) : found[0])
        fail_msg("%s: refused with \"%s\", expected \"%s\"", path, found, reason);
    awq_plugin_list_free(list);
    awq_context_free(ctx);
}

/* As a file, and as one of a directory. */
static void refuses(fixture *f, const char *reason)
{
    gives(path_of(f, NAME), reason);
    gives(f->directory, reason);
}

static void loads(fixture *f)
{
    gives(path_of(f, NAME), "");
}

/* The plugin, to be damaged and written. */
static uint8_t *good_plugin(const fixture *f, size_t *bytes)
{
    char *text;
    assert_int_equal(awq__read_text_file(f->ctx, MIXTRAL, 1 << 24, &text, bytes), AWQ_OK);
    return (uint8_t *)text;
}

static void put(fixture *f, const uint8_t *data, size_t bytes)
{
    write_file(f, NAME, data, bytes);
}

static void a_copy_is_loaded(void **state)
{
    fixture *f = *state;
    size_t bytes;
    uint8_t *data = good_plugin(f, &bytes);
    put(f, data, bytes);
    loads(f);
    awq__free(data);
}

static void what_is_no_regular_file(void **state)
{
    fixture *f = *state;
    assert_int_equal(mkfifo(path_of(f, NAME), 0600), 0);
    refuses(f, "not a regular file");
    assert_int_equal(remove(path_of(f, NAME)), 0);
    assert_int_equal(symlink("/dev/zero", path_of(f, NAME)), 0);
    refuses(f, "not a regular file");
}

static void what_is_no_elf_file(void **state)
{
    fixture *f = *state;
    static const char *const texts[] = {"", "\x7f",
                                        "\x7f"
                                        "ELF",
                                        "This is not a shared object.\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_text(f, NAME, texts[i]);
        refuses(f, "not a shared object: it does not begin with an ELF header");
    }
}

/* At any length the answer is a reason, or a plugin where nothing that is loaded is missing. */
static void what_is_cut_short(void **state)
{
    fixture *f = *state;
    size_t bytes;
    uint8_t *data = good_plugin(f, &bytes);
    put(f, data, bytes / 2);
    refuses(f, "cut short: of ");
    put(f, data, sizeof(ElfW(Ehdr)));
    refuses(f, "its program headers lie beyond them");
    put(f, data, sizeof(ElfW(Ehdr)) - 1);
    refuses(f, "does not begin with an ELF header");
    const ElfW(Ehdr) *header = (const void *)data;
    const ElfW(Phdr) *segment = (const void *)(data + header->e_phoff);
    size_t end = 0;
    for (int i = 0; i < header->e_phnum; i++)
        if (segment[i].p_offset + segment[i].p_filesz > end)
            end = segment[i].p_offset + segment[i].p_filesz;
    put(f, data, end - 1);
    refuses(f, "a segment ends at ");
    put(f, data, end);
    loads(f);
    awq__free(data);
}

/* One field of the headers is wrong. */
static void what_the_headers_say_is_checked(void **state)
{
    fixture *f = *state;
    const size_t first = sizeof(ElfW(Ehdr));
    const struct {
        size_t at, bytes;
        uint64_t value;
        const char *reason;
    } cases[] = {
        {EI_CLASS, 1, ELFCLASS32, "for another kind of machine: 32 bits"},
        {EI_DATA, 1, ELFDATA2MSB, "for another kind of machine: "},
        {offsetof(ElfW(Ehdr), e_machine), 2, EM_S390, "machine 22; this one has "},
        {offsetof(ElfW(Ehdr), e_type), 2, ET_EXEC, "an ELF file of type 2, expected a shared"},
        {offsetof(ElfW(Ehdr), e_type), 2, ET_REL, "an ELF file of type 1, expected a shared"},
        {offsetof(ElfW(Ehdr), e_phnum), 2, 0, "it has no program headers"},
        {offsetof(ElfW(Ehdr), e_phnum), 2, 65535, "cut short: of "},
        {offsetof(ElfW(Ehdr), e_phentsize), 2, 32, "it has no program headers"},
        {offsetof(ElfW(Ehdr), e_phoff), 8, UINT64_MAX - 8, "its program headers lie beyond"},
        {offsetof(ElfW(Ehdr), e_phoff), 8, UINT64_MAX / 2, "its program headers lie beyond"},
        {first + offsetof(ElfW(Phdr), p_offset), 8, 1 << 30, "a segment ends at "},
        {first + offsetof(ElfW(Phdr), p_filesz), 8, 1 << 30, "a segment ends at 1073741824"},
        {first + offsetof(ElfW(Phdr), p_filesz), 8, UINT64_MAX, "a segment ends at "},
        {first + offsetof(ElfW(Phdr), p_offset), 8, UINT64_MAX, "a segment ends at "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes;
        uint8_t *data = good_plugin(f, &bytes);
        memcpy(data + cases[i].at, &cases[i].value, cases[i].bytes);
        put(f, data, bytes);
        refuses(f, cases[i].reason);
        awq__free(data);
    }
}

/* ---- who may write it ---- */

static void what_others_may_write(void **state)
{
    fixture *f = *state;
    size_t bytes;
    uint8_t *data = good_plugin(f, &bytes);
    put(f, data, bytes);
    awq__free(data);
    char path[sizeof f->path];
    snprintf(path, sizeof path, "%s", path_of(f, NAME));
    assert_int_equal(chmod(path, 0646), 0);
    refuses(f, "every user may write it; chmod o-w takes that away");
    assert_int_equal(chmod(path, 0664), 0); /* a umask of 002 */
    assert_int_equal(chmod(f->directory, 0775), 0);
    loads(f);
    assert_int_equal(chmod(f->directory, 0757), 0);
    refuses(f, "every user may write the directory ");
    refuses(f, f->directory);
    assert_int_equal(chmod(f->directory, 01777), 0);
    loads(f);
    assert_int_equal(chmod(f->directory, 0700), 0);
    loads(f);
}

static void a_directory_further_up(void **state)
{
    fixture *f = *state;
    char inner[1024], file[1100];
    snprintf(inner, sizeof inner, "%s/inner", f->directory);
    snprintf(file, sizeof file, "%s/" NAME, inner);
    assert_int_equal(mkdir(inner, 0700), 0);
    size_t bytes;
    uint8_t *data = good_plugin(f, &bytes);
    put(f, data, bytes);
    awq__free(data);
    assert_int_equal(rename(path_of(f, NAME), file), 0);
    gives(inner, "");
    assert_int_equal(chmod(f->directory, 0703), 0);
    gives(inner, "every user may write the directory ");
    /* A link leads to the file whose place counts. */
    char link[sizeof f->path];
    snprintf(link, sizeof link, "%s", path_of(f, NAME));
    assert_int_equal(symlink("inner/" NAME, link), 0);
    gives(link, "every user may write the directory ");
    assert_int_equal(chmod(f->directory, 0700), 0);
    gives(link, "");
    /* Where all may write, a stranger's directory may have become another since. */
    if (geteuid() != 0)
        return;
    assert_int_equal(chmod(inner, 0755), 0);
    assert_int_equal(chmod(f->directory, 0755), 0);
    assert_int_equal(chown(f->directory, 54321, 0), 0);
    gives(inner, "what lies in a directory that every user may write belongs to user 54321");
    assert_int_equal(chown(f->directory, 0, 0), 0);
    gives(inner, "");
}

/* Only root can give a file away. */
static void what_belongs_to_a_stranger(void **state)
{
    fixture *f = *state;
    if (geteuid() != 0)
        skip();
    size_t bytes;
    uint8_t *data = good_plugin(f, &bytes);
    put(f, data, bytes);
    awq__free(data);
    assert_int_equal(chown(path_of(f, NAME), 54321, 0), 0);
    refuses(f, "the file belongs to user 54321, expected root, user 0 who runs this, or the owner");
    assert_int_equal(chown(path_of(f, NAME), 0, 0), 0);
    assert_int_equal(chown(f->directory, 54321, 0), 0);
    refuses(f, "its directory belongs to user 54321");
    assert_int_equal(chown(f->directory, 0, 0), 0);
    loads(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_copy_is_loaded),
        TEST(what_is_no_regular_file),
        TEST(what_is_no_elf_file),
        TEST(what_is_cut_short),
        TEST(what_the_headers_say_is_checked),
        TEST(what_others_may_write),
        TEST(a_directory_further_up),
        TEST(what_belongs_to_a_stranger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
