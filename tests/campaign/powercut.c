/*
 * What power cuts leave of a run, from a log of its file operations.
 *
 *   powercut check BEFORE LOG AFTER OUTPUT
 *       Checks every state that a cut after each operation may leave. BEFORE and AFTER are the
 *       watched directory as it was before the run and as the finished run has left it; OUTPUT is
 *       the result's directory in it.
 *   powercut count BEFORE LOG
 *       Prints how many operations the log has.
 *   powercut state BEFORE LOG OPERATION KIND DIRECTORY
 *       Makes DIRECTORY what a cut after that many operations may leave (see disk_cut).
 *
 * What must hold in every state:
 * - OUTPUT is not there, or the old one, or the new one: whole.
 * - Where there was an old one, it or the new one is there, be it under the name that the run works
 *   under or moves it to.
 * - All layers that the journal names are in the shards beside it, and it names all that it does
 *   without the cut, but for the last.
 * And when the run has returned, OUTPUT is the new one.
 */
#include "disk.h"

#include <cjson/cJSON.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define JOURNAL "awq_journal.json"
#define RANDOM_CUTS 6 /* after each operation */
#define PATH_BYTES 4096

static bool is_bookkeeping(const char *name)
{
    return !strncmp(name, ".awq-", 5) || !strcmp(name, JOURNAL);
}

/* ---- what a state is checked against ---- */

typedef struct promise {
    const char *output;
    const tree *old, *new; /* results; old may be NULL */
} promise;

static bool is_whole(const promise *p, const tree *directory)
{
    return directory && (!tree_difference(directory, p->new, is_bookkeeping) ||
                         (p->old && !tree_difference(directory, p->old, is_bookkeeping)));
}

static const tree *beside_output(const promise *p, const tree *state, const char *suffix)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s%s", p->output, suffix);
    return tree_find(state, path);
}

static cJSON *parse(const bytes *content, size_t begin, size_t length)
{
    bool inside = begin <= content->size && length <= content->size - begin;
    return inside ? cJSON_ParseWithLength((const char *)content->data + begin, length) : NULL;
}

/* Whether a shard has the bytes of all tensors of the layers before `layers`. */
static bool has_layers(const tree *shard, const tree *expected, int layers)
{
    uint64_t header_bytes;
    memcpy(&header_bytes, expected->content.data, sizeof header_bytes);
    cJSON *header = parse(&expected->content, 8, (size_t)header_bytes);
    bool same = header && shard && shard->content.size == expected->content.size;
    for (const cJSON *tensor = header ? header->child : NULL; tensor && same;
         tensor = tensor->next) {
        int layer;
        const cJSON *offsets = cJSON_GetObjectItem(tensor, "data_offsets");
        if (sscanf(tensor->string, "model.layers.%d.", &layer) != 1 || layer >= layers)
            continue;
        size_t begin = (size_t)cJSON_GetArrayItem(offsets, 0)->valuedouble;
        size_t end = (size_t)cJSON_GetArrayItem(offsets, 1)->valuedouble;
        size_t at = 8 + (size_t)header_bytes + begin;
        same = !memcmp(shard->content.data + at, expected->content.data + at, end - begin);
    }
    cJSON_Delete(header);
    return same;
}

/* How many layers the journal names as finished: 0 without one, -1 if it cannot be read. */
static int journal_layers(const tree *partial)
{
    const tree *journal = partial ? tree_find(partial, JOURNAL) : NULL;
    if (!journal)
        return 0;
    cJSON *root = parse(&journal->content, 0, journal->content.size);
    const cJSON *list = cJSON_GetObjectItem(root, "layers");
    int layers = root ? 0 : -1;
    for (const cJSON *layer = list ? list->child : NULL; layer; layer = layer->next)
        layers += cJSON_HasObjectItem(layer, "report");
    cJSON_Delete(root);
    return layers;
}

/* What is wrong with the journal and the shards beside it; NULL: nothing. */
static const char *journal_fault(const promise *p, const tree *partial, int layers_now)
{
    int layers = journal_layers(partial);
    if (layers < 0)
        return "the journal is not JSON";
    if (layers < layers_now - 1)
        return "more is lost than the last layer";
    if (!layers)
        return NULL;
    for (size_t i = 0; i < p->new->count; i++) {
        const char *name = p->new->below[i]->name;
        if (strstr(name, ".safetensors") && !strstr(name, ".json") &&
            !has_layers(tree_find(partial, name), p->new->below[i], layers))
            return "the journal names a layer that is not there";
    }
    return NULL;
}

/* `layers_now`: that the journal names without a cut. */
static const char *state_fault(const promise *p, const tree *state, int layers_now, bool finished)
{
    const tree *output = tree_find(state, p->output);
    const tree *partial = beside_output(p, state, ".partial");
    if (output && !is_whole(p, output))
        return "the output is there and not whole";
    if (finished && (!output || tree_difference(output, p->new, is_bookkeeping)))
        return "the run has returned, and its output is not there";
    if (p->old && !is_whole(p, output) && !is_whole(p, partial) &&
        !is_whole(p, beside_output(p, state, ".replaced")))
        return "neither the old output nor the new one is there as a whole";
    bool committed = output && !tree_difference(output, p->new, is_bookkeeping);
    return committed ? NULL : journal_fault(p, partial, layers_now);
}

/* ---- the commands ---- */

static FILE *open_log(const char *path)
{
    FILE *log = fopen(path, "rb");
    if (!log)
        give_up(strerror(errno), path);
    return log;
}

static disk *open_disk(const char *before)
{
    tree *start = tree_load(before);
    if (!start)
        give_up(strerror(errno), before);
    disk *d = disk_create(start);
    tree_free(start);
    return d;
}

/* The cuts after one operation; returns the number of faults. */
static int check_cuts(const disk *d, const promise *p, long operation, const char *line)
{
    int faults = 0;
    tree *now = disk_now(d);
    int layers_now = journal_layers(beside_output(p, now, ".partial"));
    tree_free(now);
    for (uint64_t i = 0; i < DISK_CUTS + RANDOM_CUTS; i++) {
        uint64_t kind = i < DISK_CUTS ? i : (uint64_t)operation * RANDOM_CUTS + i;
        tree *state = disk_cut(d, kind);
        const char *fault = state_fault(p, state, layers_now, !line);
        if (fault)
            printf("operation %ld (%s), cut %" PRIu64 ": %s\n", operation, line ? line : "the end",
                   kind, fault);
        faults += fault != NULL;
        tree_free(state);
    }
    return faults;
}

/* What was not seen by the log cannot be judged by it. */
static void check_against(const disk *d, const tree *after)
{
    tree *now = disk_now(d);
    const char *difference = tree_difference(now, after, NULL);
    if (difference)
        give_up("the log does not lead to what the run has left", difference);
    tree_free(now);
}

static int check(const char *before, const char *log_path, const char *after, const char *output)
{
    FILE *log = open_log(log_path);
    tree *start = tree_load(before), *end = tree_load(after);
    promise p = {output, tree_find(start, output), tree_find(end, output)};
    if (!start || !p.new)
        give_up("not there", start ? output : before);
    disk *d = disk_create(start);
    long operations = 0;
    int faults = 0;
    const char *line;
    while ((line = disk_step(d, log)))
        faults += check_cuts(d, &p, ++operations, line);
    check_against(d, end);
    faults += check_cuts(d, &p, operations, NULL);
    printf("%ld operations, %ld states: %d bad\n", operations,
           (operations + 1) * (DISK_CUTS + RANDOM_CUTS), faults);
    fclose(log);
    disk_free(d);
    tree_free(start);
    tree_free(end);
    return faults || !operations;
}

/* Does the first operations of a log, all if limit < 0, and returns how many. */
static long replay(disk *d, const char *log_path, long limit)
{
    FILE *log = open_log(log_path);
    long operations = 0;
    while (operations != limit && disk_step(d, log))
        operations++;
    fclose(log);
    return operations;
}

static int state(const char *before, const char *log, long operation, uint64_t kind,
                 const char *directory)
{
    disk *d = open_disk(before);
    if (replay(d, log, operation) != operation)
        give_up("has fewer operations", log);
    tree *left = disk_cut(d, kind);
    tree_write(left, directory);
    tree_free(left);
    disk_free(d);
    return 0;
}

static int count(const char *before, const char *log)
{
    disk *d = open_disk(before);
    printf("%ld\n", replay(d, log, -1));
    disk_free(d);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && !strcmp(argv[1], "check"))
        return check(argv[2], argv[3], argv[4], argv[5]);
    if (argc == 4 && !strcmp(argv[1], "count"))
        return count(argv[2], argv[3]);
    if (argc == 7 && !strcmp(argv[1], "state"))
        return state(argv[2], argv[3], atol(argv[4]), strtoull(argv[5], NULL, 10), argv[6]);
    fprintf(stderr, "usage: powercut check BEFORE LOG AFTER OUTPUT\n"
                    "       powercut count BEFORE LOG\n"
                    "       powercut state BEFORE LOG OPERATION KIND DIRECTORY\n");
    return 2;
}
