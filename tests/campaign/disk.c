/* Each file and directory as it is now and as it is for sure after a power cut. */
#include "disk.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 512 /* what a disk writes at once */

typedef struct node node;

typedef struct names {
    struct {
        char *name;
        node *node;
    } * at;
    size_t count;
} names;

/* One step of a directory: at most two names get another node, or none. */
typedef struct change {
    char *name[2];
    node *node[2];
} change;

struct node {
    bool directory;
    bytes now, durable; /* of a file */
    names durable_names;
    change *changes; /* of a directory, since it was created or loaded */
    size_t change_count, durable_changes;
    uint64_t durable_since; /* the latest sync that has returned */
};

typedef struct sync {
    uint64_t id;
    node *node;
    bytes content;
    size_t change_count;
} sync;

struct disk {
    node *root;
    node **nodes; /* all, since names may still lead to what was removed */
    size_t node_count;
    sync *syncs; /* that have begun */
    size_t sync_count;
    char *line;
};

static bytes copy_of(bytes content)
{
    bytes copy = {must_alloc(content.size, 1), content.size};
    if (content.size)
        memcpy(copy.data, content.data, content.size);
    return copy;
}

static void resize(bytes *content, size_t size)
{
    content->data = must_grow(content->data, size ? size : 1, 1);
    if (size > content->size)
        memset(content->data + content->size, 0, size - content->size);
    content->size = size;
}

static node *create_node(disk *d, bool directory)
{
    node *n = must_alloc(1, sizeof *n);
    n->directory = directory;
    d->nodes = must_grow(d->nodes, d->node_count + 1, sizeof *d->nodes);
    d->nodes[d->node_count++] = n;
    return n;
}

/* ---- names ---- */

/* Gives a name a node, or none; keeps neither the name nor its order. */
static void set_name(names *n, const char *name, node *to)
{
    size_t i = 0;
    while (i < n->count && strcmp(n->at[i].name, name) != 0)
        i++;
    if (i == n->count && to) {
        n->at = must_grow(n->at, n->count + 1, sizeof *n->at);
        n->at[n->count++].name = must_copy(name);
    }
    if (i < n->count)
        n->at[i].node = to;
    if (i < n->count && !to) {
        free(n->at[i].name);
        n->at[i] = n->at[--n->count];
    }
}

static void apply(names *n, const change *c)
{
    for (int i = 0; i < 2; i++)
        if (c->name[i])
            set_name(n, c->name[i], c->node[i]);
}

/* The names of a directory when the first `count` of its changes are there. */
static names names_after(const node *directory, size_t count)
{
    names result = {0};
    for (size_t i = 0; i < directory->durable_names.count; i++)
        set_name(&result, directory->durable_names.at[i].name, directory->durable_names.at[i].node);
    for (size_t i = directory->durable_changes; i < count; i++)
        apply(&result, &directory->changes[i]);
    return result;
}

static void free_names(names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->at[i].name);
    free(n->at);
}

static node *node_in(const node *directory, const char *name, size_t length)
{
    node *found = NULL;
    names now = names_after(directory, directory->change_count);
    for (size_t i = 0; i < now.count; i++)
        if (strlen(now.at[i].name) == length && !memcmp(now.at[i].name, name, length))
            found = now.at[i].node;
    free_names(&now);
    return found;
}

/* ---- paths ---- */

static node *find(disk *d, const char *path)
{
    node *n = d->root;
    if (!strcmp(path, "."))
        return n;
    while (n && *path) {
        size_t length = strcspn(path, "/");
        n = node_in(n, path, length);
        path += length + (path[length] == '/');
    }
    return n;
}

static node *must_find(disk *d, const char *path)
{
    node *n = find(d, path);
    if (!n)
        give_up("the log goes on with a file that is not there", path);
    return n;
}

/* The directory of a path, and the name in it. */
static node *parent_of(disk *d, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!slash)
        return d->root;
    char *directory = must_copy(path);
    directory[slash - path] = 0;
    node *n = must_find(d, directory);
    free(directory);
    return n;
}

static void add_change(node *directory, const char *name, node *n, const char *other, node *m)
{
    directory->changes = must_grow(directory->changes, directory->change_count + 1, sizeof(change));
    directory->changes[directory->change_count++] =
        (change){{must_copy(name), other ? must_copy(other) : NULL}, {n, m}};
}

/* ---- operations ---- */

static void set_entry(disk *d, const char *path, node *n)
{
    const char *name;
    node *parent = parent_of(d, path, &name);
    add_change(parent, name, n, NULL, NULL);
}

static void move(disk *d, char *paths, bool exchange)
{
    char *tab = strchr(paths, '\t');
    if (!tab)
        give_up("a rename without two paths", paths);
    *tab = 0;
    const char *from, *to;
    node *parent = parent_of(d, paths, &from);
    if (parent_of(d, tab + 1, &to) != parent)
        give_up("this model knows no renames between directories", paths);
    node *moved = must_find(d, paths);
    add_change(parent, to, moved, from, exchange ? must_find(d, tab + 1) : NULL);
    *tab = '\t';
}

static void write_part(disk *d, FILE *log, const char *path, size_t offset, size_t count)
{
    node *n = must_find(d, path);
    if (offset + count > n->now.size)
        resize(&n->now, offset + count);
    if (fread(n->now.data + offset, 1, count, log) != count)
        give_up("the log ends within a write", path);
}

static void begin_sync(disk *d, uint64_t id, const char *path)
{
    node *n = must_find(d, path);
    d->syncs = must_grow(d->syncs, d->sync_count + 1, sizeof *d->syncs);
    d->syncs[d->sync_count++] = (sync){id, n, copy_of(n->now), n->change_count};
}

/* A sync that began earlier than another makes nothing less durable when it returns after it. */
static void end_sync(disk *d, uint64_t id)
{
    size_t i = 0;
    while (i < d->sync_count && d->syncs[i].id != id)
        i++;
    if (i == d->sync_count)
        give_up("the log ends an fsync that has not begun", d->line);
    sync *s = &d->syncs[i];
    node *n = s->node;
    for (; n->durable_changes < s->change_count; n->durable_changes++)
        apply(&n->durable_names, &n->changes[n->durable_changes]);
    bytes older = n->durable_since < id ? n->durable : s->content;
    if (n->durable_since < id) {
        n->durable = s->content;
        n->durable_since = id;
    }
    free(older.data);
    d->syncs[i] = d->syncs[--d->sync_count];
}

/* ---- the log ---- */

static char *read_line(FILE *log)
{
    char *line = NULL;
    size_t length = 0;
    for (int c = getc(log); c != EOF && c != '\n'; c = getc(log)) {
        line = must_grow(line, length + 2, 1);
        line[length++] = (char)c;
        line[length] = 0;
    }
    return line;
}

/* The text behind a word that the line begins with; NULL if it does not. */
static char *after(char *line, const char *word)
{
    size_t length = strlen(word);
    return strncmp(line, word, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

static uint64_t take_number(char **rest)
{
    uint64_t number = strtoull(*rest, rest, 10);
    *rest += **rest == ' ';
    return number;
}

static void do_line(disk *d, FILE *log)
{
    char *rest;
    if ((rest = after(d->line, "create")))
        set_entry(d, rest, create_node(d, false));
    else if ((rest = after(d->line, "mkdir")))
        set_entry(d, rest, create_node(d, true));
    else if ((rest = after(d->line, "remove")))
        set_entry(d, rest, NULL);
    else if ((rest = after(d->line, "rename")))
        move(d, rest, false);
    else if ((rest = after(d->line, "exchange")))
        move(d, rest, true);
    else if ((rest = after(d->line, "synced")))
        end_sync(d, take_number(&rest));
    else if ((rest = after(d->line, "sync"))) {
        uint64_t id = take_number(&rest);
        begin_sync(d, id, rest);
    } else if ((rest = after(d->line, "size"))) {
        size_t size = (size_t)take_number(&rest);
        resize(&must_find(d, rest)->now, size);
    } else if ((rest = after(d->line, "write"))) {
        size_t offset = (size_t)take_number(&rest), count = (size_t)take_number(&rest);
        write_part(d, log, rest, offset, count);
    } else
        give_up("no line of a log", d->line);
}

const char *disk_step(disk *d, FILE *log)
{
    free(d->line);
    d->line = read_line(log);
    if (d->line)
        do_line(d, log);
    return d->line;
}

/* ---- creating ---- */

static node *load_node(disk *d, const tree *t)
{
    node *n = create_node(d, t->directory);
    n->now = copy_of(t->content);
    n->durable = copy_of(t->content);
    for (size_t i = 0; i < t->count; i++)
        set_name(&n->durable_names, t->below[i]->name, load_node(d, t->below[i]));
    return n;
}

disk *disk_create(const tree *start)
{
    disk *d = must_alloc(1, sizeof *d);
    d->root = load_node(d, start);
    return d;
}

static void free_node(node *n)
{
    for (size_t i = 0; i < n->change_count; i++) {
        free(n->changes[i].name[0]);
        free(n->changes[i].name[1]);
    }
    free(n->changes);
    free_names(&n->durable_names);
    free(n->now.data);
    free(n->durable.data);
    free(n);
}

void disk_free(disk *d)
{
    for (size_t i = 0; i < d->node_count; i++)
        free_node(d->nodes[i]);
    for (size_t i = 0; i < d->sync_count; i++)
        free(d->syncs[i].content.data);
    free(d->nodes);
    free(d->syncs);
    free(d->line);
    free(d);
}

/* ---- the power cut ---- */

/* How much is left of what is not durable. */
typedef enum share {
    NOTHING,
    ALL,
    OUTSIDE, /* names: all of the root's and none further down */
    SIZE,    /* files: the size they had, but none of the bytes */
    ANY,     /* by chance */
} share;

typedef struct cut {
    share names, data;
    uint64_t chance;
} cut;

static const cut extremes[DISK_CUTS] = {{NOTHING, NOTHING, 0}, {ALL, NOTHING, 0},
                                        {ALL, SIZE, 0},        {NOTHING, ALL, 0},
                                        {ALL, ALL, 0},         {OUTSIDE, ALL, 0}};

/* A number below `limit`. The constants are those of Knuth's MMIX generator. */
static size_t draw(cut *c, size_t limit)
{
    c->chance = c->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(c->chance >> 33) % limit;
}

static void cut_content(cut *c, const node *n, tree *t)
{
    static const share drawn[] = {NOTHING, ALL, SIZE, ANY};
    share kept = c->data == ANY ? drawn[draw(c, 4)] : c->data;
    t->borrowed = kept == ALL || kept == NOTHING;
    t->content = kept == ALL ? n->now : n->durable;
    if (t->borrowed)
        return;
    t->content = copy_of(t->content);
    resize(&t->content, n->now.size);
    for (size_t at = 0; kept == ANY && at < t->content.size; at += BLOCK) {
        size_t count = t->content.size - at < BLOCK ? t->content.size - at : BLOCK;
        if (draw(c, 2))
            memcpy(t->content.data + at, n->now.data + at, count);
    }
}

static size_t cut_changes(cut *c, const node *n, bool root)
{
    size_t later = n->change_count - n->durable_changes;
    bool all = c->names == ALL || (c->names == OUTSIDE && root);
    size_t kept = all ? later : c->names == ANY ? draw(c, later + 1) : 0;
    return n->durable_changes + kept;
}

static tree *cut_node(cut *c, const node *n, const char *name, bool root)
{
    tree *t = tree_create(name, n->directory);
    if (!n->directory) {
        cut_content(c, n, t);
        return t;
    }
    names left = names_after(n, cut_changes(c, n, root));
    for (size_t i = 0; i < left.count; i++)
        tree_add(t, cut_node(c, left.at[i].node, left.at[i].name, false));
    free_names(&left);
    return t;
}

tree *disk_cut(const disk *d, uint64_t kind)
{
    cut c = {ANY, ANY, kind};
    if (kind < DISK_CUTS)
        c = extremes[kind];
    return cut_node(&c, d->root, ".", true);
}

tree *disk_now(const disk *d)
{
    cut c = {ALL, ALL, 0};
    return cut_node(&c, d->root, ".", true);
}
