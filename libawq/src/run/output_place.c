/* Does the output's place keep clear of the files that the run reads? An output replaces a
 * directory with everything in it. */
#include "run/job.h"

#include <stdio.h>
#include <string.h>

/* The output and the names that it has while it is written and put in place. */
enum { PLACES = 3 };
static const char *const suffixes[PLACES] = {"", ".partial", ".replaced"};

typedef struct places {
    awq_context *ctx;
    const char *output; /* as the recipe has it */
    char *paths[PLACES];
} places;

static awq_status find_places(places *p)
{
    char *real = NULL;
    awq_status status;
    AWQ__TRY(awq__resolve_name(p->ctx, p->output, &real));
    p->paths[0] = awq__strdup(p->ctx, p->output);
    for (int i = 1; i < PLACES; i++)
        p->paths[i] = awq__format(p->ctx, "%s%s", real, suffixes[i]);
    for (int i = 0; i < PLACES; i++)
        AWQ__TRY_ALLOC(p->paths[i]);
done:
    awq__free(real);
    return status;
}

static void free_places(places *p)
{
    for (int i = 0; i < PLACES; i++)
        awq__free(p->paths[i]);
    *p = (places){0};
}

/* `what` names the path's purpose, for messages. */
static awq_status refuse(const places *p, int i, awq__place place, const char *what,
                         const char *path)
{
    static const char *const words[] = {
        [AWQ__PLACE_SAME] = "is", [AWQ__PLACE_WITHIN] = "lies in", [AWQ__PLACE_HOLDS] = "holds"};
    char *real;
    AWQ__CHECK(awq__resolve(p->ctx, path, &real));
    awq_status status = awq__fail(
        p->ctx, AWQ_ERROR_RECIPE, "output: %s%s %s %s %s (%s)%s; name a directory apart from it",
        p->output, suffixes[i], words[place], what, path, real,
        place == AWQ__PLACE_WITHIN ? "" : ", which the output would replace");
    awq__free(real);
    return status;
}

/* The directory that a path names something in; the caller's. */
static awq_status directory_of(awq_context *ctx, const char *path, char **directory)
{
    const char *slash = strrchr(path, '/');
    *directory = slash ? awq__format(ctx, "%.*s", (int)(slash - path) + (slash == path), path)
                       : awq__strdup(ctx, ".");
    return *directory ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* A file is lost with the directory that it lies in, and a link also with that of its file. */
static awq_status check_file(const places *p, const char *what, const char *path)
{
    char *directory;
    awq_status status;
    AWQ__TRY(directory_of(p->ctx, path, &directory));
    for (int i = 0; i < PLACES; i++) {
        awq__place place, around;
        AWQ__TRY(awq__place_of(p->ctx, p->paths[i], path, &place));
        AWQ__TRY(awq__place_of(p->ctx, p->paths[i], directory, &around));
        if (around == AWQ__PLACE_SAME || around == AWQ__PLACE_HOLDS)
            place = AWQ__PLACE_HOLDS;
        if (place == AWQ__PLACE_SAME || place == AWQ__PLACE_HOLDS)
            AWQ__TRY(refuse(p, i, place, what, path));
    }
done:
    awq__free(directory);
    return status;
}

typedef struct model_files {
    const places *places;
    const char *model;
} model_files;

/* Files of the model may be links to others, as in a cache of downloads. */
static awq_status check_if_link(void *user, const char *name)
{
    const model_files *files = user;
    const places *p = files->places;
    char *path = awq__path_join(p->ctx, files->model, name);
    awq_status status;
    AWQ__TRY_ALLOC(path);
    if (path && awq__is_link(path))
        AWQ__TRY(check_file(p, "what a file of the model leads to,", path));
done:
    awq__free(path);
    return status;
}

static awq_status check_directory(const places *p, const char *directory)
{
    for (int i = 0; i < PLACES; i++) {
        awq__place place;
        AWQ__CHECK(awq__place_of(p->ctx, p->paths[i], directory, &place));
        if (place != AWQ__PLACE_APART)
            return refuse(p, i, place, "the model", directory);
    }
    return AWQ_OK;
}

/* A config.json by itself is a file; what lies beside it is no part of the model. */
static awq_status check_model(const places *p, const awq_model *model)
{
    if (awq__is_file(model->directory))
        return check_file(p, "the model", model->directory);
    model_files files = {p, model->directory};
    AWQ__CHECK(check_directory(p, model->directory));
    return awq__list_directory(p->ctx, model->directory, check_if_link, &files);
}

/* Every file that an option names. */
static awq_status check_options(const places *p, const awq_recipe *recipe)
{
    size_t option_count;
    const awq_option *options = awq_option_list(&option_count);
    for (size_t i = 0; i < option_count; i++) {
        const awq_option *option = &options[i];
        if (!awq__option_is_path(option) || !strcmp(option->name, "model") ||
            !strcmp(option->name, "output"))
            continue;
        size_t count;
        const char *const *paths = awq__recipe_values(recipe, option, &count);
        for (size_t j = 0; j < count; j++)
            AWQ__CHECK(check_file(p, option->name, paths[j]));
    }
    return AWQ_OK;
}

awq_status awq__check_output_place(awq_context *ctx, const awq_recipe *recipe,
                                   const awq_model *model)
{
    places p = {.ctx = ctx, .output = awq__recipe_text(recipe, "output")};
    const char *plugin = model->arch->plugin->path, *source = awq__recipe_source(recipe);
    awq_status status;
    AWQ__TRY(find_places(&p));
    AWQ__TRY(check_model(&p, model));
    AWQ__TRY(check_options(&p, recipe));
    if (source)
        AWQ__TRY(check_file(&p, "the recipe", source));
    if (model->arch->plugin->library)
        AWQ__TRY(check_file(&p, "the plugin", plugin));
done:
    free_places(&p);
    return status;
}
