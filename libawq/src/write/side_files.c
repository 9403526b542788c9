/* Files beside the weights: config.json is rewritten, other files of the source are copied byte for
 * byte. */
#include "format/names.h"
#include "write/write.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_CONFIG_BYTES ((size_t)256 << 20) /* it has been parsed: it is smaller */
#define MAX_SIDE_FILE_MIB 64                 /* tokenizers of 500,000 tokens have some 30 */
#define NAMED 8                              /* of what is left out */

/* ---- which they are ---- */

/* Endings of weights, in whatever form, and of indexes of their shards. */
static const char *const endings[] = {
    ".bin",  ".pt",     ".pth",       ".ckpt", ".h5",     ".msgpack", ".gguf",       ".ggml",
    ".onnx", ".tflite", ".onnx_data", ".pkl",  ".pickle", ".npz",     ".index.json",
};

/* Files that the result has of its own, and configurations of other quantizers. */
static const char *const others[] = {
    "config.json",          AWQ__PROVENANCE_FILE,
    AWQ__REPORT_FILE,       AWQ__PAGE_FILE,
    AWQ__JOURNAL_FILE,      AWQ__SUMS_FILE,
    "quantize_config.json", "quant_config.json",
    "hf_quant_config.json", "quantization_config.json",
    AWQ__SOURCE_CARD_FILE,  "recipe.yaml",
};

/* Files that engines read: without one of them a result may not work. The same is true of the
 * folder of chat templates. */
static const char *const needed[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "LICENSE",
};

/* Is this the name of a side file? Hidden files are bookkeeping or secrets. Partial downloads have
 * one more suffix. */
static bool may_be_side_file(const char *name)
{
    if (name[0] == '.' || strstr(name, ".safetensors"))
        return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (awq__ends_with(name, endings[i]))
            return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(name, others[i]))
            return false;
    return true;
}

/* ---- those of a source ---- */

typedef struct names {
    char **list;
    size_t count, capacity;
} names;

/* Zero-initialise but for the first two. */
typedef struct side_files {
    awq_context *ctx;
    const char *directory;
    names copied, left_out;
} side_files;

static void free_names(names *n)
{
    awq__name_list_free(n->list, n->count);
    *n = (names){0};
}

static void free_side_files(side_files *s)
{
    free_names(&s->copied);
    free_names(&s->left_out);
}

static awq_status add_name(awq_context *ctx, names *n, const char *name, const char *suffix)
{
    AWQ__CHECK(awq__grow(ctx, &n->list, &n->capacity, n->count + 1, sizeof *n->list, "side files"));
    n->list[n->count] = awq__format(ctx, "%s%s", name, suffix);
    AWQ__CHECK_ALLOC(n->list[n->count]);
    n->count++;
    return AWQ_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_names(names *n)
{
    if (n->count)
        qsort(n->list, n->count, sizeof *n->list, compare_names);
}

static bool is_needed(const char *name)
{
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!strcmp(name, needed[i]))
            return true;
    return !strncmp(name, AWQ__TEMPLATE_FOLDER "/", strlen(AWQ__TEMPLATE_FOLDER) + 1);
}

/* A link out of the checkpoint is refused where the file is needed, else it is left out. */
static awq_status see_link(const side_files *s, const char *name, const char *path, bool *leads_out)
{
    awq_status status = awq__check_link(s->ctx, s->directory, path);
    *leads_out = status == AWQ_ERROR_IO && !is_needed(name);
    if (!*leads_out)
        return status;
    awq__clear(s->ctx);
    return AWQ_OK;
}

/* Is the file copied or left out? A file that cannot be examined fails later, when it is copied. */
static awq_status add_path(side_files *s, const char *name, const char *path)
{
    struct stat info;
    bool there = stat(path, &info) == 0;
    if (there && S_ISDIR(info.st_mode))
        return add_name(s->ctx, &s->left_out, name, "/");
    bool leads_out;
    AWQ__CHECK(see_link(s, name, path, &leads_out));
    if (leads_out)
        return add_name(s->ctx, &s->left_out, name, "");
    bool fits = !there || (S_ISREG(info.st_mode) &&
                           (uint64_t)info.st_size <= (uint64_t)MAX_SIDE_FILE_MIB << 20);
    return add_name(s->ctx, fits ? &s->copied : &s->left_out, name, "");
}

static awq_status add_file(side_files *s, const char *name)
{
    char *path = awq__path_join(s->ctx, s->directory, name);
    AWQ__CHECK_ALLOC(path);
    awq_status status = add_path(s, name, path);
    awq__free(path);
    return status;
}

static awq_status see_template(void *user, const char *name)
{
    side_files *s = user;
    if (!may_be_side_file(name))
        return AWQ_OK;
    char *inner = awq__path_join(s->ctx, AWQ__TEMPLATE_FOLDER, name);
    AWQ__CHECK_ALLOC(inner);
    awq_status status = add_file(s, inner);
    awq__free(inner);
    return status;
}

static awq_status see_templates(side_files *s)
{
    char *path = awq__path_join(s->ctx, s->directory, AWQ__TEMPLATE_FOLDER);
    awq_status status;
    AWQ__TRY_ALLOC(path);
    AWQ__TRY(awq__check_link(s->ctx, s->directory, path));
    AWQ__TRY(awq__is_directory(path) ? awq__list_directory(s->ctx, path, see_template, s)
                                     : add_name(s->ctx, &s->left_out, AWQ__TEMPLATE_FOLDER, ""));
done:
    awq__free(path);
    return status;
}

static awq_status see_name(void *user, const char *name)
{
    if (!strcmp(name, AWQ__TEMPLATE_FOLDER))
        return see_templates(user);
    return may_be_side_file(name) ? add_file(user, name) : AWQ_OK;
}

/* A config.json by itself has none. Free what is found, also after a failure. */
static awq_status find_side_files(side_files *s)
{
    if (!awq__is_directory(s->directory))
        return AWQ_OK;
    AWQ__CHECK(awq__list_directory(s->ctx, s->directory, see_name, s));
    sort_names(&s->copied);
    sort_names(&s->left_out);
    return AWQ_OK;
}

/* ---- what the result will lack ---- */

static awq_status tell_left_out(const side_files *s, awq__rules *rules)
{
    awq__text text = {0};
    awq_status status = AWQ_OK;
    size_t count = s->left_out.count, named = count > NAMED ? NAMED : count;
    for (size_t i = 0; i < named; i++)
        AWQ__TRY(awq__text_append(s->ctx, &text, "%s%s", i ? ", " : "", s->left_out.list[i]));
    if (count > named)
        AWQ__TRY(awq__text_append(s->ctx, &text, " and %zu more", count - named));
    if (count)
        AWQ__TRY(awq__rules_warn(
            s->ctx, rules,
            "%s: the result will lack %s: only files of at most %d "
            "MiB are copied, no links that lead out of it, and no folder but " AWQ__TEMPLATE_FOLDER,
            s->directory, text.data, MAX_SIDE_FILE_MIB));
done:
    awq__text_free(&text);
    return status;
}

awq_status awq__side_files_check(awq_context *ctx, awq__model_plan *plan)
{
    side_files s = {.ctx = ctx, .directory = plan->model->directory};
    awq_status status;
    AWQ__TRY(find_side_files(&s));
    AWQ__TRY(tell_left_out(&s, &plan->rules));
done:
    free_side_files(&s);
    return status;
}

/* ---- writing ---- */

static awq_status copy_file(const awq__writer *writer, const char *directory, const char *name)
{
    char *path = awq__path_join(writer->ctx, directory, name);
    AWQ__CHECK_ALLOC(path);
    bool card = !strcmp(name, AWQ__CARD_FILE); /* the result has its own */
    awq_status status =
        awq__output_copy_as(writer->output, path, card ? AWQ__SOURCE_CARD_FILE : name);
    awq__free(path);
    return status;
}

static awq_status copy_files(const awq__writer *writer)
{
    side_files s = {.ctx = writer->ctx, .directory = writer->plan->model->directory};
    awq_status status;
    AWQ__TRY(find_side_files(&s));
    for (size_t i = 0; i < s.copied.count; i++)
        AWQ__TRY(copy_file(writer, s.directory, s.copied.list[i]));
done:
    free_side_files(&s);
    return status;
}

/* The source's text but for one member: readers of it tell 0 from 0.0. */
static awq_status write_config(const awq__writer *writer)
{
    awq_context *ctx = writer->ctx;
    cJSON *quantization = NULL;
    awq__text printed = {0}, text = {0};
    char *source = NULL;
    size_t bytes = 0;
    const char *path = writer->plan->model->arch->config_path;
    awq_status status;
    AWQ__TRY(awq__model_plan_config(ctx, writer->plan, &quantization));
    AWQ__TRY(awq__json_print(ctx, quantization, "config.json", &printed));
    AWQ__TRY(awq__read_text_file(ctx, path, MAX_CONFIG_BYTES, &source, &bytes));
    AWQ__TRY(
        awq__json_set_member(ctx, path, source, bytes, "quantization_config", printed.data, &text));
    AWQ__TRY(awq__output_text(writer->output, "config.json", text.data, text.length));
done:
    cJSON_Delete(quantization);
    awq__text_free(&printed);
    awq__text_free(&text);
    awq__free(source);
    return status;
}

awq_status awq__write_side_files(const awq__writer *writer)
{
    if (!writer->plan->format->gguf) /* which says it all itself */
        AWQ__CHECK(write_config(writer));
    return copy_files(writer);
}
