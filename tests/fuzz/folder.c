#include "folder.h"
#include "checkpoint/internal.h"
#include "support/synthetic.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define MOST_CHANGES 16

static fuzz_part read_file(const char *path)
{
    fuzz_part content;
    MUST(awq__read_text_file(fuzz_context(), path, 1 << 24, &content.data, &content.size) ==
         AWQ_OK);
    return content;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const folder_file *)a)->name, ((const folder_file *)b)->name);
}

void folder_read(const char *name, folder *f)
{
    char path[1024];
    DIR *directory = opendir(fuzz_path(name));
    const struct dirent *entry;
    MUST(directory);
    f->count = 0;
    while ((entry = readdir(directory))) {
        if (!awq__is_plain_name(entry->d_name))
            continue;
        MUST(f->count < FOLDER_MOST_FILES);
        folder_file *file = &f->files[f->count++];
        snprintf(file->name, sizeof file->name, "%s", entry->d_name);
        snprintf(path, sizeof path, "%s/%s", fuzz_path(name), entry->d_name);
        file->content = read_file(path);
    }
    closedir(directory);
    qsort(f->files, f->count, sizeof *f->files, by_name);
}

void folder_free(folder *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->files[i].content.data);
    f->count = 0;
}

void folder_write(const char *name, const folder *f)
{
    char path[512];
    fuzz_remove_directory(name);
    fuzz_make_directory(name);
    for (size_t i = 0; i < f->count; i++) {
        snprintf(path, sizeof path, "%s/%s", name, f->files[i].name);
        fuzz_write_part(path, &f->files[i].content);
    }
}

folder_file *folder_find(folder *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (!strcmp(f->files[i].name, name))
            return &f->files[i];
    return NULL;
}

bool folder_has(folder *f, const folder_file *file)
{
    const folder_file *other = folder_find(f, file->name);
    return other && other->content.size == file->content.size &&
           !memcmp(other->content.data, file->content.data, file->content.size);
}

/* ---- changes ---- */

/* The content has room for as many bytes more as a value can say. */
static void change(fuzz_part *content, const uint8_t *how)
{
    size_t at = (size_t)(how[2] | how[3] << 8);
    at = content->size ? at % content->size : 0;
    switch (how[1] % 4) {
    case 0:
        if (content->size)
            content->data[at] = (char)how[4];
        break;
    case 1:
        if (content->size)
            content->data[at] ^= (char)(1 << how[4] % 8);
        break;
    case 2:
        content->size = at;
        break;
    default:
        memset(content->data + content->size, 0, how[4]);
        content->size += how[4];
    }
}

void folder_change(const folder *f, const uint8_t *data, size_t size, folder *out)
{
    *out = *f;
    for (size_t i = 0; i < f->count; i++) {
        fuzz_part *content = &out->files[i].content;
        content->data = malloc(content->size + MOST_CHANGES * UINT8_MAX);
        MUST(content->data);
        memcpy(content->data, f->files[i].content.data, content->size);
    }
    for (size_t i = 0; i < MOST_CHANGES && (i + 1) * FOLDER_CHANGE_BYTES <= size; i++) {
        const uint8_t *how = data + i * FOLDER_CHANGE_BYTES;
        change(&out->files[how[0] % out->count].content, how);
    }
}

/* ---- the run ---- */

awq_recipe *folder_recipe(void)
{
    awq_context *ctx = fuzz_context();
    awq_recipe *recipe;
    synthetic model = SYNTHETIC_SMALL;
    model.layers = FOLDER_LAYERS;
    model.hidden = model.intermediate = 32;
    model.experts = model.heads = 2;
    model.kv_heads = 1;
    model.vocabulary = 8;
    fuzz_add_plugins();
    MUST(synthetic_write(ctx, fuzz_path("m"), &model) == AWQ_OK);
    MUST(awq_recipe_create(ctx, &recipe) == AWQ_OK);
    MUST(awq_recipe_set(recipe, "model", fuzz_path("m"), NULL) == AWQ_OK);
    MUST(awq_recipe_set(recipe, "output", fuzz_path("out"), NULL) == AWQ_OK);
    MUST(awq_recipe_set(recipe, "quantize.method", "rtn", NULL) == AWQ_OK);
    MUST(awq_recipe_set(recipe, "quantize.group_size", "32", NULL) == AWQ_OK);
    return recipe;
}

static int stop(void *user, const awq_progress *progress)
{
    return progress->layer == *(const int64_t *)user;
}

void folder_run_to(const awq_recipe *recipe, int64_t layer)
{
    awq_context_set_progress(fuzz_context(), stop, &layer);
    MUST(awq_quantize(fuzz_context(), recipe, NULL, NULL) == AWQ_ERROR_CANCELLED);
    awq_context_set_progress(fuzz_context(), NULL, NULL);
}
