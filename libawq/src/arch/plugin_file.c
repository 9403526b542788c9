/*
 * What a plugin's file must be before it is loaded: loading runs its code, and the loader believes
 * its headers. A file that is cut short would end the process by SIGBUS, a FIFO hold it for ever.
 *
 * The file is checked by its name and then loaded by its name. Between the two only those whom the
 * check trusts can put another in its place: others may write neither it nor a directory above it.
 */
#define _GNU_SOURCE /* dladdr */
#include "arch/arch.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The linker's name for the ELF header of the object that this code is in. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

typedef struct plugin_file {
    const char *path;
    int fd;
    struct stat info;
    char *reason; /* of AWQ__REASON_BYTES */
} plugin_file;

AWQ__PRINTF(2, 3)
static bool refuse(const plugin_file *file, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(file->reason, AWQ__REASON_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- who may write it ---- */

/* Who owns this library can do all that a plugin can. */
static bool owns_library(uid_t user)
{
    Dl_info object;
    struct stat info;
    return dladdr(&__ehdr_start, &object) && object.dli_fname &&
           stat(object.dli_fname, &info) == 0 && info.st_uid == user;
}

static bool check_owner(const plugin_file *file, const char *what, uid_t user)
{
    if (user == 0 || user == geteuid() || owns_library(user))
        return true;
    return refuse(file,
                  "%s belongs to user %lu, expected root, user %lu who runs this, or the owner of "
                  "libawq",
                  what, (unsigned long)user, (unsigned long)geteuid());
}

/* Checks a directory above the file. `below` is the owner of its entry on the way to the file. That
   owner decides in a sticky directory such as /tmp: all users may write there, but only remove what
   is their own. */
static bool check_directory(const plugin_file *file, const char *path, uid_t *below, bool nearest)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return refuse(file, "the directory %s: %s", path, strerror(errno));
    bool open = info.st_mode & S_IWOTH, sticky = info.st_mode & S_ISVTX;
    if (open && !sticky)
        return refuse(file, "every user may write the directory %s; chmod o-w takes that away",
                      path);
    if (open && !check_owner(file, "what lies in a directory that every user may write", *below))
        return false;
    *below = info.st_uid;
    return !nearest || sticky || check_owner(file, "its directory", info.st_uid);
}

static bool check_writers(const plugin_file *file)
{
    char path[PATH_MAX];
    uid_t below = file->info.st_uid;
    if (!check_owner(file, "the file", below))
        return false;
    if (file->info.st_mode & S_IWOTH)
        return refuse(file, "every user may write it; chmod o-w takes that away");
    size_t length = strlen(file->path);
    if (length >= sizeof path)
        return refuse(file, "its path is longer than %d bytes", PATH_MAX - 1);
    memcpy(path, file->path, length + 1);
    bool nearest = true;
    for (char *slash = strrchr(path, '/'); slash; nearest = false) {
        slash[slash == path] = 0;
        if (!check_directory(file, path, &below, nearest))
            return false;
        slash = slash == path ? NULL : strrchr(path, '/');
    }
    return true;
}

/* ---- whether it is whole ---- */

static bool read_at(const plugin_file *file, void *to, size_t bytes, uint64_t offset)
{
    uint64_t size = (uint64_t)file->info.st_size;
    return offset <= size && bytes <= size - offset &&
           pread(file->fd, to, bytes, (off_t)offset) == (ssize_t)bytes;
}

static bool check_header(const plugin_file *file, ElfW(Ehdr) * header)
{
    const ElfW(Ehdr) *own = &__ehdr_start;
    if (!read_at(file, header, sizeof *header, 0) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return refuse(file, "not a shared object: it does not begin with an ELF header");
    if (header->e_ident[EI_CLASS] != own->e_ident[EI_CLASS] ||
        header->e_ident[EI_DATA] != own->e_ident[EI_DATA] || header->e_machine != own->e_machine)
        return refuse(file,
                      "for another kind of machine: %d bits, machine %d; this one has %d bits, "
                      "machine %d",
                      header->e_ident[EI_CLASS] * 32, header->e_machine,
                      own->e_ident[EI_CLASS] * 32, own->e_machine);
    if (header->e_type != ET_DYN)
        return refuse(file, "an ELF file of type %d, expected a shared object", header->e_type);
    return true;
}

/* All that the loader maps lies within the file. */
static bool check_segments(const plugin_file *file, const ElfW(Ehdr) * header)
{
    uint64_t size = (uint64_t)file->info.st_size;
    if (header->e_phentsize != sizeof(ElfW(Phdr)) || !header->e_phnum)
        return refuse(file, "not a shared object: it has no program headers");
    for (unsigned i = 0; i < header->e_phnum; i++) {
        ElfW(Phdr) segment;
        uint64_t at, end;
        if (__builtin_add_overflow(header->e_phoff, i * sizeof segment, &at) ||
            !read_at(file, &segment, sizeof segment, at))
            return refuse(file, "cut short: of %llu bytes, its program headers lie beyond them",
                          (unsigned long long)size);
        if (__builtin_add_overflow(segment.p_offset, segment.p_filesz, &end) || end > size)
            return refuse(file, "cut short: of %llu bytes, a segment ends at %llu",
                          (unsigned long long)size, (unsigned long long)end);
    }
    return true;
}

static bool check_open_file(plugin_file *file)
{
    ElfW(Ehdr) header;
    if (fstat(file->fd, &file->info) != 0)
        return refuse(file, "%s", strerror(errno));
    if (!S_ISREG(file->info.st_mode))
        return refuse(file, "not a regular file");
    return check_writers(file) && check_header(file, &header) && check_segments(file, &header);
}

bool awq__plugin_file_check(const char *path, char reason[AWQ__REASON_BYTES])
{
    plugin_file file = {.path = path, .reason = reason};
    /* Not to wait for the writer of a FIFO. */
    file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (file.fd < 0)
        return refuse(&file, "%s", strerror(errno));
    bool good = check_open_file(&file);
    close(file.fd);
    return good;
}

bool awq__plugin_computes(const char *path)
{
    static const char prefix[] = "awq-compute-";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return !strncmp(name, prefix, sizeof prefix - 1) && awq__ends_with(name, ".so");
}
