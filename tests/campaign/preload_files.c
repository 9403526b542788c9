/*
 * Watches a program's file operations, and ends it or lets one fail. LD_PRELOAD brings it in front
 * of the C library.
 *
 *   FILES_ROOT   what is done in this directory is watched
 *   FILES_LOG    each operation is appended to this file, in the words that disk.h explains
 *   FILES_KILL   N: the program is killed before its operation N, counted from 1
 *   FILES_HALF   with FILES_KILL: if that is a write, its first half is done
 *   FILES_FAIL   N: operation N fails, with the number in FILES_ERRNO, and has no effect
 *
 * An operation is anything that changes files or directories, or makes them durable. One at a time
 * is done and written down, so that the log has the true order; making durable alone lets others go
 * on, and is written down when it begins and when it ends.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES (2 * PATH_MAX)

static char root[PATH_BYTES];
static size_t root_length; /* 0: nothing is watched */
static int log_fd = -1;
static long kill_at, fail_at, fail_errno = EIO;
static bool half;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long operations, syncs;

/* ---- the C library's own ---- */

/* Declares real_NAME with the type of NAME. */
#define REAL(name) static __typeof__(name) *real_##name

REAL(open);
REAL(openat);
REAL(write);
REAL(pwrite);
REAL(ftruncate);
REAL(posix_fallocate);
REAL(fsync);
REAL(fdatasync);
REAL(renameat2);
REAL(unlinkat);
REAL(mkdirat);

static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    memcpy(function, &found, sizeof found);
}

static void find_all(void)
{
    find(&real_open, "open");
    find(&real_openat, "openat");
    find(&real_write, "write");
    find(&real_pwrite, "pwrite");
    find(&real_ftruncate, "ftruncate");
    find(&real_posix_fallocate, "posix_fallocate");
    find(&real_fsync, "fsync");
    find(&real_fdatasync, "fdatasync");
    find(&real_renameat2, "renameat2");
    find(&real_unlinkat, "unlinkat");
    find(&real_mkdirat, "mkdirat");
}

static long number(const char *name)
{
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void set_up(void)
{
    find_all();
    const char *directory = getenv("FILES_ROOT"), *log = getenv("FILES_LOG");
    if (!directory || !realpath(directory, root))
        return;
    kill_at = number("FILES_KILL");
    half = number("FILES_HALF");
    fail_at = number("FILES_FAIL");
    if (number("FILES_ERRNO"))
        fail_errno = number("FILES_ERRNO");
    if (log)
        log_fd = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log && log_fd < 0)
        abort();
    root_length = strlen(root);
}

/* ---- paths ---- */

/* The part of an absolute path below the root, which is "." itself; NULL if it is elsewhere. */
static const char *below_root(const char *path)
{
    if (strncmp(path, root, root_length) != 0)
        return NULL;
    if (!path[root_length])
        return ".";
    return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

/* Where an open file lies; NULL if it is not watched, or has no name any more. */
static const char *path_of_fd(int fd, char path[PATH_BYTES])
{
    char link[64];
    if (!root_length)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_BYTES - 1);
    if (length < 0)
        return NULL;
    path[length] = 0;
    struct stat info;
    if (fstat(fd, &info) != 0 || !info.st_nlink)
        return NULL;
    return below_root(path);
}

/* The path without links in its directory, which must exist; NULL if it is not watched. */
static const char *path_at(int directory, const char *name, char path[PATH_BYTES])
{
    char whole[PATH_BYTES] = "", parent[PATH_BYTES];
    if (!root_length)
        return NULL;
    if (name[0] != '/' && directory != AT_FDCWD) {
        snprintf(parent, sizeof parent, "/proc/self/fd/%d", directory);
        ssize_t length = readlink(parent, whole, PATH_MAX);
        whole[length < 0 ? 0 : length] = 0;
        strcat(whole, "/");
    }
    if (strlen(whole) + strlen(name) >= PATH_MAX)
        return NULL;
    strcat(whole, name);
    for (size_t end = strlen(whole); end > 1 && whole[end - 1] == '/'; end--)
        whole[end - 1] = 0;
    char *slash = strrchr(whole, '/');
    if (slash)
        *slash = 0;
    if (!realpath(slash ? (slash == whole ? "/" : whole) : ".", parent))
        return NULL;
    snprintf(path, PATH_BYTES, "%.*s/%.*s", PATH_MAX, parent, NAME_MAX, slash ? slash + 1 : whole);
    return below_root(path);
}

/* ---- what is done with an operation ---- */

static void write_all(const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t count = real_write(log_fd, data, bytes);
        if (count <= 0)
            abort();
        data += count;
        bytes -= (size_t)count;
    }
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char line[2 * PATH_BYTES + 100];
    va_list arguments;
    if (log_fd < 0)
        return;
    int error = errno;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    write_all(line, (size_t)length);
    errno = error;
}

/* Takes the lock and counts; false if the operation is to fail, with errno set and without the
   lock. A write of which half is to be done is killed by its caller. */
static bool begin(bool is_write)
{
    pthread_mutex_lock(&lock);
    operations++;
    if (operations == kill_at && !(half && is_write))
        raise(SIGKILL);
    if (operations != fail_at)
        return true;
    pthread_mutex_unlock(&lock);
    errno = (int)fail_errno;
    return false;
}

static void end(void)
{
    pthread_mutex_unlock(&lock);
}

/* ---- files ---- */

/* Calls openat, and notes a file that it has created or emptied. */
static int do_open(int directory, const char *name, int flags, mode_t mode)
{
    char buffer[PATH_BYTES];
    bool changes = flags & (O_CREAT | O_TRUNC);
    const char *path = changes ? path_at(directory, name, buffer) : NULL;
    struct stat info;
    if (!path)
        return real_openat(directory, name, flags, mode);
    bool there = lstat(buffer, &info) == 0;
    if (!begin(false))
        return -1;
    int fd = real_openat(directory, name, flags, mode);
    if (fd >= 0 && !there)
        note("create %s\n", path);
    else if (fd >= 0 && (flags & O_TRUNC))
        note("size 0 %s\n", path);
    end();
    return fd;
}

#define OPEN_MODE(flags)                                                                           \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode = va_arg(arguments, mode_t);                                                          \
        va_end(arguments);                                                                         \
    }

int open(const char *name, int flags, ...)
{
    OPEN_MODE(flags)
    return do_open(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
    OPEN_MODE(flags)
    return do_open(AT_FDCWD, name, flags, mode);
}

int openat(int directory, const char *name, int flags, ...)
{
    OPEN_MODE(flags)
    return do_open(directory, name, flags, mode);
}

int openat64(int directory, const char *name, int flags, ...)
{
    OPEN_MODE(flags)
    return do_open(directory, name, flags, mode);
}

/* What _FORTIFY_SOURCE makes of an open without a mode. */
int __open_2(const char *name, int flags);
int __open_2(const char *name, int flags)
{
    return do_open(AT_FDCWD, name, flags, 0);
}

int __openat_2(int directory, const char *name, int flags);
int __openat_2(int directory, const char *name, int flags)
{
    return do_open(directory, name, flags, 0);
}

/* offset < 0: at the file's own. */
static ssize_t do_write(int fd, const void *data, size_t bytes, off_t offset)
{
    char buffer[PATH_BYTES];
    const char *path = path_of_fd(fd, buffer);
    if (!path)
        return offset < 0 ? real_write(fd, data, bytes) : real_pwrite(fd, data, bytes, offset);
    off_t at = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
    if (!begin(true))
        return -1;
    bool last = operations == kill_at;
    size_t wanted = last ? bytes / 2 : bytes;
    ssize_t count =
        offset < 0 ? real_write(fd, data, wanted) : real_pwrite(fd, data, wanted, offset);
    if (last)
        raise(SIGKILL);
    if (count > 0 && log_fd >= 0) {
        note("write %lld %zd %s\n", (long long)at, count, path);
        write_all(data, (size_t)count);
    }
    end();
    return count;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    return do_write(fd, data, bytes, -1);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    return do_write(fd, data, bytes, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    return do_write(fd, data, bytes, offset);
}

static void note_size(int fd, const char *path)
{
    struct stat info;
    if (fstat(fd, &info) == 0)
        note("size %lld %s\n", (long long)info.st_size, path);
}

int ftruncate(int fd, off_t bytes)
{
    char buffer[PATH_BYTES];
    const char *path = path_of_fd(fd, buffer);
    if (!path)
        return real_ftruncate(fd, bytes);
    if (!begin(false))
        return -1;
    int result = real_ftruncate(fd, bytes);
    note_size(fd, path);
    end();
    return result;
}

int ftruncate64(int fd, off_t bytes)
{
    return ftruncate(fd, bytes);
}

int posix_fallocate(int fd, off_t offset, off_t bytes)
{
    char buffer[PATH_BYTES];
    const char *path = path_of_fd(fd, buffer);
    if (!path)
        return real_posix_fallocate(fd, offset, bytes);
    if (!begin(false))
        return errno;
    int error = real_posix_fallocate(fd, offset, bytes);
    note_size(fd, path);
    end();
    return error;
}

int posix_fallocate64(int fd, off_t offset, off_t bytes)
{
    return posix_fallocate(fd, offset, bytes);
}

static int do_sync(int fd, int (*sync_file)(int))
{
    char buffer[PATH_BYTES];
    const char *path = path_of_fd(fd, buffer);
    if (!path)
        return sync_file(fd);
    if (!begin(false))
        return -1;
    long id = ++syncs;
    note("sync %ld %s\n", id, path);
    end();
    int result = sync_file(fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        note("synced %ld\n", id);
        end();
    }
    return result;
}

int fsync(int fd)
{
    return do_sync(fd, real_fsync);
}

int fdatasync(int fd)
{
    return do_sync(fd, real_fdatasync);
}

/* ---- names ---- */

int renameat2(int from_directory, const char *from, int to_directory, const char *to,
              unsigned flags)
{
    char from_buffer[PATH_BYTES], to_buffer[PATH_BYTES];
    const char *from_path = path_at(from_directory, from, from_buffer);
    const char *to_path = path_at(to_directory, to, to_buffer);
    if (!from_path || !to_path)
        return real_renameat2(from_directory, from, to_directory, to, flags);
    if (!begin(false))
        return -1;
    int result = real_renameat2(from_directory, from, to_directory, to, flags);
    if (result == 0)
        note("%s %s\t%s\n", flags & RENAME_EXCHANGE ? "exchange" : "rename", from_path, to_path);
    end();
    return result;
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    return renameat2(from_directory, from, to_directory, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int directory, const char *name, int flags)
{
    char buffer[PATH_BYTES];
    const char *path = path_at(directory, name, buffer);
    if (!path)
        return real_unlinkat(directory, name, flags);
    if (!begin(false))
        return -1;
    int result = real_unlinkat(directory, name, flags);
    if (result == 0)
        note("remove %s\n", path);
    end();
    return result;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int remove(const char *name)
{
    int result = unlink(name);
    return result != 0 && errno == EISDIR ? rmdir(name) : result;
}

int mkdirat(int directory, const char *name, mode_t mode)
{
    char buffer[PATH_BYTES];
    const char *path = path_at(directory, name, buffer);
    if (!path)
        return real_mkdirat(directory, name, mode);
    if (!begin(false))
        return -1;
    int result = real_mkdirat(directory, name, mode);
    if (result == 0)
        note("mkdir %s\n", path);
    end();
    return result;
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}
