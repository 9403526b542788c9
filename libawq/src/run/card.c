/* The model card: what the result was made from and how, how near it is to its source, and how to
 * serve it. */
#include "run/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FILE_NAME_BYTES 256
#define MAX_SOURCE_CARD_BYTES ((size_t)64 << 20) /* larger side files are not copied */

typedef struct card {
    awq__job *job;
    const awq_report *report;
    awq__text text;
    char *base;  /* the base model's name, of letters, digits and "._/-" */
    bool on_hub; /* the name is that of a repository on the Hugging Face Hub */
} card;

/* ---- what hubs read: YAML between two lines of dashes ---- */

/* Does a line of the source's card hold for the result too, with a value of one word? */
static bool is_taken_over(const char *line, size_t length)
{
    static const char *const keys[] = {
        "license: ", "license_name: ", "license_link: ", "pipeline_tag: "};
    size_t key = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strncmp(line, keys[i], strlen(keys[i])))
            key = strlen(keys[i]);
    for (size_t i = key; i < length; i++)
        if (!awq__is_name_letter(line[i], "._/:-"))
            return false;
    return key > 0 && length > key;
}

static awq_status take_over_lines(card *c, const char *text)
{
    if (strncmp(text, "---\n", 4))
        return AWQ_OK;
    for (const char *line = text + 4; *line && strncmp(line, "---", 3);) {
        size_t length = strcspn(line, "\n");
        if (is_taken_over(line, length))
            AWQ__CHECK(awq__text_append(c->job->ctx, &c->text, "%.*s\n", (int)length, line));
        line += length + (line[length] == '\n');
    }
    return AWQ_OK;
}

static awq_status take_over(card *c, bool *there)
{
    awq_context *ctx = c->job->ctx;
    char *text = NULL;
    char *path =
        awq__path_join(ctx, awq__output_partial(c->job->writer.output), AWQ__SOURCE_CARD_FILE);
    size_t bytes;
    awq_status status;
    AWQ__TRY_ALLOC(path);
    *there = awq__is_file(path);
    if (*there) {
        AWQ__TRY(awq__read_text_file(ctx, path, MAX_SOURCE_CARD_BYTES, &text, &bytes));
        AWQ__TRY(take_over_lines(c, text));
    }
done:
    awq__free(text);
    awq__free(path);
    return status;
}

static awq_status add_head(card *c, bool *source_card)
{
    awq_context *ctx = c->job->ctx;
    AWQ__CHECK(awq__text_append(ctx, &c->text, "---\n"));
    if (c->on_hub)
        AWQ__CHECK(awq__text_append(ctx, &c->text,
                                    "base_model: %s\nbase_model_relation: quantized\n", c->base));
    AWQ__CHECK(take_over(c, source_card));
    return awq__text_append(ctx, &c->text, "tags:\n- libawq\n- %s\n---\n\n",
                            c->job->plan->format->name);
}

/* ---- what was done ---- */

static awq_status add_size(card *c, const char *before, uint64_t bytes)
{
    bool large = bytes >= 1000000000;
    return awq__text_append(c->job->ctx, &c->text, "%s%.2f %s", before,
                            (double)bytes * (large ? 1e-9 : 1e-6), large ? "GB" : "MB");
}

static awq_status add_origin(card *c)
{
    const awq__sequences *sequences = &c->job->sequences;
    awq_context *ctx = c->job->ctx;
    AWQ__CHECK(awq__text_append(ctx, &c->text,
                                "# %s, quantized\n\nThe weights of %s, quantized by libawq %s in "
                                "the format %s.\n\n",
                                c->base, c->base, awq_version(), c->job->plan->format->name));
    AWQ__CHECK(add_size(c, "- Size: ", c->report->bytes_before));
    AWQ__CHECK(add_size(c, " before, ", c->report->bytes_after));
    AWQ__CHECK(awq__text_append(ctx, &c->text, " after\n- Calibration: "));
    if (sequences->count)
        AWQ__CHECK(awq__text_append(ctx, &c->text, "%" PRId64 " sequences, %" PRId64 " tokens\n",
                                    (int64_t)sequences->count,
                                    (int64_t)awq__token_count(sequences)));
    else
        AWQ__CHECK(awq__text_append(ctx, &c->text, "none\n"));
    return awq__text_append(ctx, &c->text,
                            "- Recipe and hashes of the source: `" AWQ__PROVENANCE_FILE "`\n"
                            "- Choices layer by layer: `" AWQ__REPORT_FILE "`\n\n");
}

static awq_status add_group(card *c, const awq_plan_group *group)
{
    return awq__text_append(c->job->ctx, &c->text, "| `%s` | %s | %s | %" PRIu64 " | %s | %.2f |\n",
                            group->pattern, awq_role_name(group->role), group->layers, group->count,
                            group->treatment, group->bits_per_weight);
}

static awq_status add_schemes(card *c)
{
    awq_context *ctx = c->job->ctx;
    awq__plan_groups groups = {0};
    awq_status status;
    AWQ__TRY(awq__text_append(ctx, &c->text,
                              "## Schemes\n\n"
                              "| modules | role | layers | count | treatment | bits per weight |\n"
                              "| --- | --- | --- | --- | --- | --- |\n"));
    AWQ__TRY(awq__plan_groups_find(ctx, c->job->plan, &groups));
    for (size_t i = 0; i < groups.count; i++)
        AWQ__TRY(add_group(c, &groups.list[i].shown));
    AWQ__TRY(awq__text_append(ctx, &c->text, "\n"));
done:
    awq__plan_groups_free(&groups);
    return status;
}

static awq_status add_evaluation(card *c)
{
    const awq_eval_result *e = awq_report_evaluation(c->report);
    if (!e)
        return awq__text_append(c->job->ctx, &c->text,
                                "## Evaluation\n\nNone was made with the run.\n\n");
    return awq__text_append(c->job->ctx, &c->text,
                            "## Evaluation\n\nOn %" PRId64 " tokens, against the base model:\n\n"
                            "| measure | value |\n| --- | --- |\n"
                            "| perplexity of the base model | %.4f |\n| perplexity | %.4f |\n"
                            "| mean KL divergence | %.6f nats |\n| top-1 agreement | %.2f %% |\n"
                            "| router agreement | %.2f %% |\n\n",
                            e->tokens, e->reference_perplexity, e->perplexity, e->kl,
                            100 * e->top1_agreement, 100 * e->router_topk_agreement);
}

/* ---- serving ---- */

/* Commands for engines, run in the directory of the result. */
typedef struct command {
    const char *engine, *title, *language, *text;
    const char *devices; /* goes before their number; NULL: there is no such option */
    bool gguf;           /* it takes the name of a file in GGUF */
} command;

static const command commands[] = {
    {"vllm", "vLLM", "sh", "vllm serve .", " --tensor-parallel-size ", false},
    {"sglang", "SGLang", "sh", "python -m sglang.launch_server --model-path .", " --tp-size ",
     false},
    {"transformers", "transformers", "python",
     "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
     "model = AutoModelForCausalLM.from_pretrained(\".\", dtype=\"auto\")\n"
     "tokenizer = AutoTokenizer.from_pretrained(\".\")",
     NULL, false},
    {"llama.cpp", "llama.cpp", "sh", "llama-server -m ", NULL, true},
};

/* The engine's objections to the result; *loads: its newest version loads it. */
static awq_status add_findings(card *c, const command *e, const awq__findings *findings,
                               bool *loads)
{
    *loads = true;
    for (size_t i = 0; i < findings->count; i++) {
        const awq__finding *found = &findings->items[i];
        if (strcmp(found->engine, e->engine))
            continue;
        *loads &= found->level != AWQ__ENGINE_REFUSES;
        AWQ__CHECK(awq__text_append(c->job->ctx, &c->text, "%s%s%s does not load it: %s.\n\n",
                                    e->title, found->versions[0] ? " " : "", found->versions,
                                    found->reason));
    }
    return AWQ_OK;
}

/* Of the files in GGUF the first by name, which leads to the others. */
static awq_status see_file(void *user, const char *name)
{
    char *first = user;
    const char *end = strrchr(name, '.');
    if (end && !strcmp(end, ".gguf") && (!*first || strcmp(name, first) < 0))
        snprintf(first, FILE_NAME_BYTES, "%s", name);
    return AWQ_OK;
}

static awq_status add_file_name(card *c)
{
    char first[FILE_NAME_BYTES] = "";
    AWQ__CHECK(awq__list_directory(c->job->ctx, awq__output_partial(c->job->writer.output),
                                   see_file, first));
    return awq__text_append(c->job->ctx, &c->text, "%s", first);
}

static awq_status add_command(card *c, const command *e)
{
    awq_context *ctx = c->job->ctx;
    int64_t devices = c->job->plan->settings.tensor_parallel;
    AWQ__CHECK(awq__text_append(ctx, &c->text, "%s:\n\n```%s\n%s", e->title, e->language, e->text));
    if (e->gguf)
        AWQ__CHECK(add_file_name(c));
    if (devices > 1 && e->devices)
        AWQ__CHECK(awq__text_append(ctx, &c->text, "%s%" PRId64, e->devices, devices));
    return awq__text_append(ctx, &c->text, "\n```\n\n");
}

static awq_status add_serving(card *c)
{
    awq__findings findings;
    awq_status status;
    AWQ__TRY(awq__model_plan_findings(c->job->ctx, c->job->plan, "any", &findings));
    AWQ__TRY(awq__text_append(c->job->ctx, &c->text,
                              "## Serving\n\nIn the directory of this file.\n\n"));
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        bool loads;
        if (commands[i].gguf != c->job->plan->format->gguf)
            continue;
        AWQ__TRY(add_findings(c, &commands[i], &findings, &loads));
        if (loads)
            AWQ__TRY(add_command(c, &commands[i]));
    }
done:
    awq__findings_free(&findings);
    return status;
}

/* ---- the whole ---- */

static awq_status add_files(card *c, bool source_card)
{
    if (source_card)
        AWQ__CHECK(awq__text_append(c->job->ctx, &c->text,
                                    "## Base model\n\nIts card is [" AWQ__SOURCE_CARD_FILE
                                    "](" AWQ__SOURCE_CARD_FILE ").\n\n"));
    return awq__text_append(c->job->ctx, &c->text,
                            "## Integrity\n\n`awqc verify .` or `sha256sum -c " AWQ__SUMS_FILE
                            "` checks the files.\n");
}

awq_status awq__write_card(awq__job *job, const awq_report *report)
{
    card c = {.job = job, .report = report};
    bool source_card;
    awq_status status;
    AWQ__TRY(awq__base_model(job->ctx, job->plan->model->directory, &c.base, &c.on_hub));
    AWQ__TRY(add_head(&c, &source_card));
    AWQ__TRY(add_origin(&c));
    AWQ__TRY(add_schemes(&c));
    AWQ__TRY(add_evaluation(&c));
    AWQ__TRY(add_serving(&c));
    AWQ__TRY(add_files(&c, source_card));
    AWQ__TRY(awq__output_text(job->writer.output, AWQ__CARD_FILE, c.text.data, c.text.length));
done:
    awq__free(c.base);
    awq__text_free(&c.text);
    return status;
}
