/* Files and directories in memory. */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES 4096

void give_up(const char *what, const char *which)
{
    fprintf(stderr, "%s: %s\n", which, what);
    exit(2);
}

void *must_alloc(size_t count, size_t size)
{
    void *pointer = calloc(count ? count : 1, size ? size : 1);
    if (!pointer)
        give_up("out of memory", "powercut");
    return pointer;
}

void *must_grow(void *array, size_t count, size_t size)
{
    void *pointer = realloc(array, count * size);
    if (!pointer)
        give_up("out of memory", "powercut");
    return pointer;
}

char *must_copy(const char *text)
{
    return strcpy(must_alloc(strlen(text) + 1, 1), text);
}

tree *tree_create(const char *name, bool directory)
{
    tree *t = must_alloc(1, sizeof *t);
    t->name = must_copy(name);
    t->directory = directory;
    return t;
}

void tree_free(tree *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        tree_free(t->below[i]);
    free(t->below);
    if (!t->borrowed)
        free(t->content.data);
    free(t->name);
    free(t);
}

static int compare(const void *a, const void *b)
{
    return strcmp((*(tree *const *)a)->name, (*(tree *const *)b)->name);
}

void tree_add(tree *t, tree *child)
{
    t->below = must_grow(t->below, t->count + 1, sizeof(tree *));
    t->below[t->count++] = child;
    qsort(t->below, t->count, sizeof(tree *), compare);
}

const tree *tree_find(const tree *t, const char *path)
{
    while (t && *path) {
        size_t length = strcspn(path, "/");
        const tree *found = NULL;
        for (size_t i = 0; i < t->count; i++)
            if (strlen(t->below[i]->name) == length && !memcmp(t->below[i]->name, path, length))
                found = t->below[i];
        t = found;
        path += length + (path[length] == '/');
    }
    return t;
}

/* ---- beside another ---- */

/* The next entry from *i on that counts; NULL after the last. */
static const tree *next(const tree *t, size_t *i, bool (*ignored)(const char *name))
{
    while (*i < t->count && ignored && ignored(t->below[*i]->name))
        ++*i;
    return *i < t->count ? t->below[(*i)++] : NULL;
}

static bool differs(const tree *a, const tree *b, bool (*ignored)(const char *name), char *path)
{
    char *end = path + strlen(path);
    if (a->directory != b->directory || a->content.size != b->content.size)
        return true;
    if (a->content.size && memcmp(a->content.data, b->content.data, a->content.size) != 0)
        return true;
    for (size_t i = 0, j = 0;;) {
        const tree *x = next(a, &i, ignored), *y = next(b, &j, ignored);
        if (!x && !y)
            return false;
        snprintf(end, PATH_BYTES - (size_t)(end - path), "/%s", x ? x->name : y->name);
        if (!x || !y || strcmp(x->name, y->name) != 0 || differs(x, y, ignored, path))
            return true;
        *end = 0;
    }
}

const char *tree_difference(const tree *a, const tree *b, bool (*ignored)(const char *name))
{
    static char path[PATH_BYTES];
    strcpy(path, ".");
    if (!a || !b)
        return a || b ? path : NULL;
    return differs(a, b, ignored, path) ? path : NULL;
}

/* ---- on the real disk ---- */

static bytes load_file(const char *path, size_t size)
{
    bytes content = {must_alloc(size, 1), size};
    FILE *file = fopen(path, "rb");
    if (!file || fread(content.data, 1, size, file) != size || fclose(file) != 0)
        give_up(strerror(errno), path);
    return content;
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

static void load_entries(tree *t, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_entry, alphasort);
    if (count < 0)
        give_up(strerror(errno), path);
    for (int i = 0; i < count; i++) {
        char below[PATH_BYTES];
        snprintf(below, sizeof below, "%s/%s", path, entries[i]->d_name);
        tree *child = tree_load(below);
        if (!child)
            give_up("not there any more", below);
        tree_add(t, child);
        free(entries[i]);
    }
    free(entries);
}

tree *tree_load(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return NULL;
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))
        give_up("neither a file nor a directory", path);
    const char *slash = strrchr(path, '/');
    tree *t = tree_create(slash ? slash + 1 : path, S_ISDIR(info.st_mode));
    if (t->directory)
        load_entries(t, path);
    else
        t->content = load_file(path, (size_t)info.st_size);
    return t;
}

static void write_content(const bytes *content, const char *path)
{
    FILE *file = fopen(path, "wbx");
    bool written =
        file && (!content->size || fwrite(content->data, 1, content->size, file) == content->size);
    if (!written || fclose(file) != 0)
        give_up(strerror(errno), path);
}

void tree_write(const tree *t, const char *path)
{
    if (!t->directory) {
        write_content(&t->content, path);
        return;
    }
    if (mkdir(path, 0777) != 0)
        give_up(strerror(errno), path);
    for (size_t i = 0; i < t->count; i++) {
        char below[PATH_BYTES];
        snprintf(below, sizeof below, "%s/%s", path, t->below[i]->name);
        tree_write(t->below[i], below);
    }
}
