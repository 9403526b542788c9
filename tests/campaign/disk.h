/*
 * A disk that remembers what is durable, to see what a power cut may leave.
 *
 * POSIX lets everything be lost that no fsync has made durable, and any part of it survive. Here:
 * - The bytes of a file are safe once an fsync has returned that began after they were written. Of
 *   later writes any part may be there, with zeros or the older bytes in place of the rest.
 * - Names are safe once their directory was fsynced. Of later changes of a directory the first few
 *   may be there, how many is up to each directory: file systems keep them in order. A rename is
 *   there as a whole or not at all.
 *
 * A log (preload_files.c writes it) tells one operation a line; paths are below the disk's root,
 * which is ".":
 *   create PATH    mkdir PATH    remove PATH    rename FROM<tab>TO    exchange ONE<tab>OTHER
 *   size BYTES PATH    write OFFSET BYTES PATH (the bytes come after the line)
 *   sync ID PATH (an fsync begins)    synced ID (it has returned)
 */
#ifndef DISK_H
#define DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

/* ---- tree.c: files and directories, as they are at one time ---- */

typedef struct tree {
    char *name;
    bool directory;
    bytes content;       /* of a file */
    bool borrowed;       /* the content is someone else's */
    struct tree **below; /* of a directory, sorted by name */
    size_t count;
} tree;

/* A real directory with all that is in it. NULL where there is none. */
tree *tree_load(const char *path);
/* Writes it where there is nothing yet. */
void tree_write(const tree *t, const char *path);
/* The caller's to free, as a part of no tree. */
tree *tree_create(const char *name, bool directory);
/* Takes `child`. */
void tree_add(tree *t, tree *child);
/* NULL if it is not there. */
const tree *tree_find(const tree *t, const char *path);
/* The path of the first difference, in a buffer that stays until the next call; NULL: none. Files
   that `ignored` tells by name do not count; ignored may be NULL. */
const char *tree_difference(const tree *a, const tree *b, bool (*ignored)(const char *name));
/* Takes NULL. */
void tree_free(tree *t);

/* ---- disk.c ---- */

typedef struct disk disk;

/* A disk that holds what `start` does, durably. */
disk *disk_create(const tree *start);
/* Does the next operation of a log, and tells its line. NULL at the end. The program ends where the
   log is not one of this disk. */
const char *disk_step(disk *d, FILE *log);
/* What is there now, without a power cut. This and a cut are good until the next step. */
tree *disk_now(const disk *d);
/* What a power cut may leave. Kinds below DISK_CUTS are the extremes, others are drawn by chance
   from the kind as a seed. */
enum { DISK_CUTS = 6 };
tree *disk_cut(const disk *d, uint64_t kind);
void disk_free(disk *d);

/* ---- for all ---- */

/* Memory of zeros, or the end of the program. */
void *must_alloc(size_t count, size_t size);
void *must_grow(void *array, size_t count, size_t size);
char *must_copy(const char *text);
_Noreturn void give_up(const char *what, const char *which);

#endif
