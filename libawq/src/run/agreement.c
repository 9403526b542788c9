/* What two runs must have in common so that one can resume the other. */
#include "run/job.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Files of the source, beside its weights, that change what a run computes or writes. */
static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                    "chat_template.jinja", "generation_config.json"};

static awq_status agree_on_open(awq__job *job, const char *name, const char *path)
{
    awq__hashed file = {.path = path};
    file.fd = awq__open_file(job->ctx, path, &file.bytes);
    if (file.fd < 0)
        return AWQ_ERROR_IO;
    awq_status status;
    AWQ__TRY(awq__hash_arrays(job->ctx, &file, 1));
    AWQ__TRY(awq__journal_agree_hash(&job->journal, name, file.hash));
done:
    close(file.fd);
    return status;
}

static awq_status agree_on_file(awq__job *job, const char *name)
{
    char *path = awq__model_file(job->plan->model, name);
    AWQ__CHECK_ALLOC(path);
    awq_status status = awq__is_file(path) ? agree_on_open(job, name, path)
                                           : awq__journal_agree(&job->journal, name, "no file");
    awq__free(path);
    return status;
}

/* Is the option without influence on the result? Of files only the content matters, of plugin paths
 * only the plugin in use. Limits of memory and ignored engines change nothing that is computed;
 * what a device computed is named by its kernels. */
static bool is_harmless(const awq_option *option)
{
    return awq__option_is_path(option) || !strcmp(option->name, "plugin") ||
           !strcmp(option->name, "memory_limit") || !strcmp(option->name, "device") ||
           !strcmp(option->name, "device_memory") || !strcmp(option->name, "ignore_engine");
}

static awq_status agree_on_option(awq__job *job, const awq_option *option)
{
    size_t count;
    const char *const *values = awq__recipe_values(job->recipe, option, &count);
    awq__text text = {0};
    awq_status status;
    AWQ__TRY(awq__text_append(job->ctx, &text, "%s", count ? "" : "nothing"));
    for (size_t i = 0; i < count; i++)
        AWQ__TRY(awq__text_append(job->ctx, &text, "%s%s", i ? ", " : "", values[i]));
    AWQ__TRY(awq__journal_agree(&job->journal, option->name, text.data));
done:
    awq__text_free(&text);
    return status;
}

static awq_status agree_on_rule(awq__job *job, size_t rule)
{
    size_t count;
    const awq_option *options = awq_rule_option_list(&count);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        const char *value = awq_recipe_rule_get(job->recipe, rule, options[i].name);
        snprintf(name, sizeof name, "rules[%zu].%s", rule, options[i].name);
        AWQ__CHECK(awq__journal_agree(&job->journal, name, value ? value : "nothing"));
    }
    return AWQ_OK;
}

static awq_status agree_on_recipe(awq__job *job)
{
    size_t count, rules = awq_recipe_rule_count(job->recipe);
    const awq_option *options = awq_option_list(&count);
    char text[32];
    for (size_t i = 0; i < count; i++)
        if (!is_harmless(&options[i]))
            AWQ__CHECK(agree_on_option(job, &options[i]));
    snprintf(text, sizeof text, "%zu", rules);
    AWQ__CHECK(awq__journal_agree(&job->journal, "number of rules", text));
    for (size_t i = 0; i < rules; i++)
        AWQ__CHECK(agree_on_rule(job, i));
    return AWQ_OK;
}

uint64_t awq__sequences_hash(const awq__sequences *sequences)
{
    if (!sequences->count)
        return 0;
    uint64_t hash = awq__hash(AWQ__HASH_SEED, sequences->offsets,
                              (size_t)(sequences->count + 1) * sizeof *sequences->offsets);
    return awq__hash(hash, sequences->ids,
                     (size_t)awq__token_count(sequences) * sizeof *sequences->ids);
}

awq_status awq__job_agree_on_ids(awq__job *job, const char *name, const awq__sequences *sequences)
{
    if (!sequences->count)
        return awq__journal_agree(&job->journal, name, "none");
    return awq__journal_agree_hash(&job->journal, name, awq__sequences_hash(sequences));
}

awq_status awq__job_agree(awq__job *job)
{
    const awq_plugin *plugin = &job->plan->model->arch->plugin->table;
    AWQ__CHECK(awq__journal_agree(&job->journal, "version of libawq", awq_version()));
    AWQ__CHECK(awq__journal_agree(&job->journal, "plugin", plugin->id));
    AWQ__CHECK(awq__journal_agree(&job->journal, "version of the plugin", plugin->version));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        AWQ__CHECK(agree_on_file(job, files[i]));
    return agree_on_recipe(job);
}
