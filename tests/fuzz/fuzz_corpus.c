/*
 * Corpora: options in seven bytes, a tokenizer.json, and two files. What is loaded is within what
 * was asked for, and the same each time.
 */
#include "fuzz.h"
#include "text/text.h"

#include <string.h>

#define FILES 2
#define VOCABULARY 12

/* What the first part says, byte by byte; zeros where it ends before. */
typedef struct wish {
    uint8_t windows, cut, samples, length, seed, kinds[FILES];
} wish;

static const char *const names[FILES][4] = {{"a.txt", "a.jsonl", "a.safetensors", "a.json"},
                                            {"b.txt", "b.jsonl", "b.safetensors", "b.json"}};

static void write_file(const char *name, const fuzz_part *part)
{
    char *list = fuzz_string(part);
    if (strstr(name, ".safetensors"))
        fuzz_write_tensors(name, "", list);
    else
        fuzz_write_part(name, part);
    free(list);
}

static void check(const awq__sequences *s, const awq__corpus_options *options)
{
    MUST(s->count > 0 && s->offsets[0] == 0);
    MUST(!options->samples || s->count <= options->samples);
    for (int64_t i = 0; i < s->count; i++)
        MUST(s->offsets[i + 1] - s->offsets[i] >= 2);
    for (int64_t i = 0; i < s->offsets[s->count]; i++)
        MUST(s->ids[i] >= 0 && s->ids[i] < VOCABULARY);
}

static void compare(const awq__sequences *a, const awq__sequences *b)
{
    MUST(a->count == b->count);
    MUST(!memcmp(a->offsets, b->offsets, (size_t)(a->count + 1) * sizeof *a->offsets));
    MUST(!memcmp(a->ids, b->ids, (size_t)a->offsets[a->count] * sizeof *a->ids));
}

static awq_status load(const awq__corpus_options *options, bool windows, awq__sequences *out)
{
    awq_status (*loader)(awq_context *, const awq__corpus_options *, const char *, int64_t,
                         awq__sequences *) = windows ? awq__windows_load : awq__corpus_load;
    awq_status status =
        loader(fuzz_context(), options, fuzz_path("tokenizer.json"), VOCABULARY, out);
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (out->ids != NULL));
    return status;
}

static void load_twice(const wish *w, size_t files, const char *const *paths)
{
    awq__corpus_options options = {.files = paths,
                                   .file_count = files,
                                   .samples = w->samples % 8,
                                   .sequence_length = 2 + w->length % 14,
                                   .seed = w->seed,
                                   .cut = w->cut % 2};
    awq__sequences first, second;
    awq_status status = load(&options, w->windows % 2, &first);
    MUST(load(&options, w->windows % 2, &second) == status);
    if (status == AWQ_OK) {
        check(&first, &options);
        compare(&first, &second);
        for (int64_t i = 0; i < first.count && !(w->windows % 2); i++)
            MUST(first.offsets[i + 1] - first.offsets[i] <= options.sequence_length);
    }
    awq__sequences_free(&first);
    awq__sequences_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part parts[2 + FILES];
    const char *paths[FILES];
    wish w = {0};
    size_t files = 0;
    fuzz_split(data, size, parts, 2 + FILES);
    if (parts[0].size)
        memcpy(&w, parts[0].data, parts[0].size < sizeof w ? parts[0].size : sizeof w);
    fuzz_write_part("tokenizer.json", &parts[1]);
    for (int i = 0; i < FILES && (!i || parts[2 + i].size); i++) {
        const char *name = names[i][w.kinds[i] % 4];
        write_file(name, &parts[2 + i]);
        paths[files++] = fuzz_path(name);
    }
    load_twice(&w, files, paths);
    fuzz_free(parts, 2 + FILES);
    return 0;
}
