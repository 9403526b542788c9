/*
 * The memory of a run: for each stage, what it holds and what each of its workers adds. With less
 * memory fewer workers run; one worker is the minimum. The shapes of blocks never change, because
 * the result would.
 */
#include "core/limits.h"
#include "backend/backend.h"
#include "quant/gptq.h"
#include "run/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The program itself, its libraries and their buffers; of each thread; of each module. */
#define PROGRAM_BYTES (16.0 * (1 << 20))
#define THREAD_BYTES (6.0 * (1 << 20))
#define MODULE_BYTES 2048.0
/* Free memory that the C library keeps for each thread (awq__give_back). */
#define MOST_FREE_BYTES (64.0 * (1 << 20))
#define TOKEN_BYTES 2 /* of text, at least, in the mean */

typedef struct meter {
    const awq_model *model;
    const awq__model_plan *plan; /* NULL: nothing is quantized */
    const awq__memory_tokens *tokens;
    double threads, streams; /* streams: hidden states, through all layers */
    awq__memory_need *need;
    awq_status status; /* the first failure to find a module */
} meter;

static const awq__arch *arch_of(const meter *m)
{
    return m->model->arch;
}

/* Adds a stage. `worker` is the memory of one of its workers. The C library keeps part of the freed
   memory. `spare` is used only where there is room for it. */
static void add_stage_with(meter *m, double standing, double spare, double worker)
{
    double many = fmax(worker, fmin(worker * m->threads, (double)AWQ__WORK_BYTES));
    double free = m->threads * fmin(4 * worker, MOST_FREE_BYTES);
    m->need->least = fmax(m->need->least, standing + worker);
    m->need->usual = fmax(m->need->usual, standing + spare + many + free);
}

static void add_stage(meter *m, double standing, double worker)
{
    add_stage_with(m, standing, 0, worker);
}

/* 0 after a failure, which is kept. */
static double stored_bytes(meter *m, const awq__module *module)
{
    awq__found found;
    awq_status status = awq__model_find(m->model, module, NULL, &found);
    if (m->status == AWQ_OK)
        m->status = status;
    return status == AWQ_OK ? (double)found.bytes : 0;
}

/* ---- one layer ---- */

/* A module and what is done to it. */
typedef struct treated {
    const awq__module *module;
    const awq__treatment *treatment;
    double rows; /* of the gram of its input */
    double group;
} treated;

/* Tokens that reach a module: all, or an expert's share with those that it borrows. */
static double seen_tokens(const meter *m, const awq__module *module)
{
    const awq_arch_experts *experts = &arch_of(m)->layers[module->layer].experts;
    double T = (double)m->tokens->calibration;
    if (module->role != AWQ_ROLE_EXPERT)
        return T;
    return fmin(T, T * (double)experts->per_token / (double)experts->count +
                       (double)m->plan->settings.calibration.min_expert_tokens);
}

/* The memory of its statistics, scale search and ranges. */
static double kept_bytes(const treated *t)
{
    double N = (double)t->module->rows, K = (double)t->module->cols, bytes = 0;
    if (t->treatment->calibrate && awq__has_own_gram(t->module->part))
        bytes += 4 * K * (t->rows + (t->rows < K && t->treatment->clip ? t->group : 0)) + 128 * K;
    if (t->treatment->clip)
        bytes += (double)sizeof(awq__range) * N * K / t->group;
    return bytes;
}

/* The memory of one worker on one matrix: a block of weights with errors and their products, codes
 * with their packed form, or GPTQ's arrays. */
static double worker_bytes(const treated *t)
{
    double N = (double)t->module->rows, K = (double)t->module->cols;
    const awq__stats stats = {.cols = t->module->cols, .rows = t->rows < K ? (int64_t)t->rows : 0};
    const awq__weight weight = {.rows = t->module->rows, .cols = t->module->cols};
    double search = 4 * (double)awq__gram_loss_space(&weight, &stats);
    double store = N * K * (2 + 5 / t->group) + 4 * (double)awq__weight_work(&weight);
    double compensate = t->treatment->gptq
                            ? 4 * (double)awq__gptq_work(t->module->cols, (int64_t)t->group) + store
                            : 0;
    return fmax(search, fmax(store, compensate));
}

/* What lies between the matrices of a layer. */
typedef struct sums {
    double stored, kept, worker;
    double grams;                /* that the pass gathers for GPTQ where there is room */
    bool attention, compensates; /* something of the attention, or by GPTQ */
} sums;

static void add_module(meter *m, size_t index, sums *s)
{
    const awq__module *module = &arch_of(m)->modules[index];
    treated t = {.module = module, .treatment = m->plan->rules.of[index]};
    s->stored += stored_bytes(m, module) + 256;
    if (!t.treatment)
        return;
    awq__scheme scheme = awq__model_plan_scheme(m->plan, index, AWQ_BF16);
    t.group = (double)scheme.group;
    t.rows = awq__gram_rows(m->plan, module, seen_tokens(m, module));
    s->kept += kept_bytes(&t);
    s->worker = fmax(s->worker, worker_bytes(&t));
    if (t.treatment->gptq && awq__has_own_gram(module->part) && t.rows < (double)module->cols)
        s->grams += 4 * (double)module->cols * (double)module->cols;
    s->compensates |= t.treatment->gptq;
    s->attention |= module->role == AWQ_ROLE_ATTENTION && t.treatment->calibrate;
}

/* Expert outputs that wait for their sum, and the router's results, for this many tokens. */
static double passing_bytes(const awq__layer *layer, double T)
{
    const awq__moe *moe = &layer->moe;
    double routes = T * (4 * (double)moe->routed_count + 16 * (double)moe->per_token);
    return T > 0 ? routes + 4 * (double)awq__experts_waiting(layer, (int64_t)T) : 0;
}

/* Of the forward pass. */
static double forward_bytes(const awq__layer *layer, int64_t longest)
{
    double work = (double)awq__layer_work(layer);
    if (longest)
        work = fmax(fmax(work, (double)awq__attention_work(layer, longest)),
                    (double)awq__experts_work(layer));
    return 4 * work;
}

/* The memory of the steps that work on a whole expert. */
static double expert_bytes(const awq__layer *layer, const sums *s)
{
    double most =
        fmax((double)awq__cpu_statistics_bytes(layer), (double)awq__cpu_clip_bytes(layer));
    most = fmax(most, 3 * (double)awq__cpu_store_bytes(layer));
    if (s->compensates)
        most = fmax(most, (double)awq__cpu_gptq_bytes(layer) + s->worker +
                              (double)awq__cpu_clip_bytes(layer));
    return most;
}

/* The memory of the proof, of samples and of lists of tokens. */
static double beside_bytes(const meter *m, const awq__layer *layer, const sums *s)
{
    double H = (double)layer->hidden, T = (double)m->tokens->calibration;
    double Q = (double)layer->attention.o.cols, sample = fmin(T, (double)AWQ__SAMPLE_TOKENS);
    double experts = (double)layer->moe.expert_count, I = (double)layer->moe.intermediate;
    double lists = 12 * (T * (double)layer->moe.per_token +
                         experts * (double)m->plan->settings.calibration.min_expert_tokens);
    const awq__latent *latent = &layer->attention.latent;
    double vectors = H + Q + (double)(latent->q_rank + latent->kv_rank);
    double attention = fmax(sample, (double)m->tokens->longest) * 4 * (H + Q + vectors);
    return 4 * 4 * sample * H + passing_bytes(layer, sample) + lists + experts * (64 * I + 16 * H) +
           m->threads * 8 * T + (s->attention ? attention : 0) + (s->compensates ? 4 * H * H : 0);
}

static awq_status add_layer(meter *m, int64_t n)
{
    const awq__arch *arch = arch_of(m);
    const awq__memory_tokens *tokens = m->tokens;
    awq__loaded_layer shape;
    sums s = {0};
    AWQ__CHECK(awq__model_layer_shape(m->model, n, &shape));
    const awq__layer *layer = &shape.layer;
    for (size_t i = arch->layer_first[n]; i < arch->layer_first[n + 1]; i++)
        add_module(m, i, &s);
    double standing = m->streams + s.stored;
    double worker = fmax(forward_bytes(layer, tokens->longest), s.worker);
    if (tokens->calibration) {
        standing +=
            s.kept + passing_bytes(layer, (double)tokens->calibration) + beside_bytes(m, layer, &s);
        worker = fmax(worker, expert_bytes(layer, &s));
    } else {
        worker = fmax(worker, 3 * (double)awq__cpu_store_bytes(layer));
    }
    add_stage_with(m, standing, s.grams, worker);
    if (tokens->windows) /* the layer is read back, and let go, before the source's is read again */
        add_stage(m, m->streams + s.stored + 2 * passing_bytes(layer, (double)tokens->windows),
                  forward_bytes(layer, tokens->longest_window));
    awq__loaded_layer_free(&shape);
    return AWQ_OK;
}

/* ---- the ends ---- */

static double end_bytes(meter *m, awq__part part)
{
    const awq__arch *arch = arch_of(m);
    if (part == AWQ__PART_HEAD && !arch->model.head[0])
        part = AWQ__PART_EMBEDDING;
    return stored_bytes(m, &arch->modules[awq__arch_index(arch, -1, part, -1)]);
}

/* Embedding and head: copied before there are hidden states, which are made of the first; the
   second, and that of the source, makes logits of those of the evaluation. */
static void add_ends(meter *m, double evaluation)
{
    const awq__arch *arch = arch_of(m);
    double embedding = end_bytes(m, AWQ__PART_EMBEDDING), head = end_bytes(m, AWQ__PART_HEAD);
    const awq__weight weight = {.rows = arch->model.vocabulary_size,
                                .cols = arch->model.hidden_size};
    double work = 4 * (double)awq__weight_work(&weight);
    add_stage(m, fmax(embedding, head), work);
    add_stage(m, m->streams + embedding, work);
    if (m->tokens->windows)
        add_stage(m, evaluation + 2 * head, awq__cpu_logits_bytes(&weight));
}

/* ---- corpora ---- */

/* The memory of reading a set of files. A text is held together with its ids, both as found and as
 * kept. For files of lines, the places of lines, some ids, and one text for each thread are held.
 */
static double corpus_bytes(const awq__texts *files, bool joined)
{
    double bytes = 0;
    for (size_t i = 0; i < files->count; i++) {
        double own = (double)awq__file_bytes(files->items[i]);
        bool lines = awq__ends_with(files->items[i], ".jsonl") && !joined;
        bytes += lines ? 0.5 * own + 2 * fmin(own, AWQ__KEPT_TEXT_BYTES) : 6 * own;
    }
    return bytes;
}

awq_status awq__memory_of_corpora(const awq__model_plan *plan, double *bytes)
{
    const awq__settings *s = &plan->settings;
    bool calibrates = plan->rules.calibrate || s->has_target;
    double calibration = calibrates ? corpus_bytes(&s->calibration.data, false) : 0;
    double windows = corpus_bytes(&s->evaluation.data, true);
    *bytes = fmax(calibration, windows);
    char *path = awq__model_file(plan->model, "tokenizer.json");
    AWQ__CHECK_ALLOC(path);
    *bytes += 10 * (double)awq__file_bytes(path);
    awq__free(path);
    return AWQ_OK;
}

/* ---- the whole ---- */

static double process_bytes(const meter *m)
{
    return PROGRAM_BYTES + m->threads * THREAD_BYTES +
           16 * (double)(m->tokens->calibration + m->tokens->windows);
}

static double module_bytes(const meter *m)
{
    return (double)arch_of(m)->module_count * MODULE_BYTES;
}

awq_status awq__memory_need_of(awq_context *ctx, const awq__model_plan *plan,
                               const awq__memory_tokens *tokens, awq__memory_need *need)
{
    const awq__arch *arch = plan->model->arch;
    double H = (double)arch->model.hidden_size;
    double evaluation = 2 * 2 * 4 * (double)tokens->windows * H;
    meter m = {.model = plan->model,
               .plan = plan,
               .tokens = tokens,
               .threads = (double)awq__threads(ctx),
               .streams = 2 * 4 * (double)tokens->calibration * H + evaluation,
               .need = need};
    *need = (awq__memory_need){.process = process_bytes(&m) + module_bytes(&m)};
    for (int64_t n = 0; n < arch->model.layer_count; n++)
        AWQ__CHECK(add_layer(&m, n));
    add_ends(&m, evaluation);
    double corpora;
    AWQ__CHECK(awq__memory_of_corpora(plan, &corpora));
    add_stage(&m, corpora, 0);
    return m.status;
}

/* ---- an evaluation ---- */

/* A layer is read, and let go, before the next one or that of the other model is. */
static awq_status add_passed_layer(meter *m, int64_t n)
{
    const awq__arch *arch = arch_of(m);
    awq__loaded_layer shape;
    double stored = 0;
    AWQ__CHECK(awq__model_layer_shape(m->model, n, &shape));
    for (size_t i = arch->layer_first[n]; i < arch->layer_first[n + 1]; i++)
        stored += stored_bytes(m, &arch->modules[i]) + 256;
    add_stage(m, m->streams + stored + 2 * passing_bytes(&shape.layer, (double)m->tokens->windows),
              forward_bytes(&shape.layer, m->tokens->longest_window));
    awq__loaded_layer_free(&shape);
    return AWQ_OK;
}

static awq_status add_passed_model(meter *m)
{
    const awq_arch_model *sizes = &arch_of(m)->model;
    const awq__weight ends = {.rows = sizes->vocabulary_size, .cols = sizes->hidden_size};
    for (int64_t n = 0; n < sizes->layer_count; n++)
        AWQ__CHECK(add_passed_layer(m, n));
    add_stage(m, m->streams + end_bytes(m, AWQ__PART_EMBEDDING),
              4 * (double)awq__weight_work(&ends));
    m->need->process += module_bytes(m);
    return AWQ_OK;
}

awq_status awq__memory_need_of_evaluation(awq_context *ctx, const awq_model *judged,
                                          const awq_model *reference,
                                          const awq__memory_tokens *tokens, awq__memory_need *need)
{
    const awq_arch_model *sizes = &judged->arch->model;
    const awq__weight head = {.rows = sizes->vocabulary_size, .cols = sizes->hidden_size};
    double states = 2 * 4 * (double)tokens->windows * (double)sizes->hidden_size, heads = 0;
    meter m = {.model = judged,
               .tokens = tokens,
               .threads = (double)awq__threads(ctx),
               .streams = reference ? 2 * states : states,
               .need = need};
    *need = (awq__memory_need){.process = process_bytes(&m)};
    AWQ__CHECK(add_passed_model(&m));
    heads += end_bytes(&m, AWQ__PART_HEAD);
    if (reference) {
        m.model = reference;
        AWQ__CHECK(add_passed_model(&m));
        heads += end_bytes(&m, AWQ__PART_HEAD);
    }
    add_stage(&m, m.streams + heads, awq__cpu_logits_bytes(&head));
    return m.status;
}

/* The most tokens that files of text or ids can give, judged by their sizes. */
static int64_t tokens_of_files(const awq__texts *files)
{
    int64_t tokens = 0;
    for (size_t i = 0; i < files->count; i++)
        tokens += awq__file_bytes(files->items[i]) / TOKEN_BYTES + 1;
    return tokens;
}

awq__memory_tokens awq__memory_tokens_of(const awq__model_plan *plan)
{
    const awq__settings *s = &plan->settings;
    awq__memory_tokens tokens = {0};
    if (plan->rules.calibrate || s->has_target) {
        tokens.longest = s->calibration.sequence_length;
        tokens.calibration = s->calibration.samples * tokens.longest;
    }
    if (s->evaluation.data.count) {
        tokens.longest_window = s->evaluation.sequence_length;
        tokens.windows = tokens_of_files(&s->evaluation.data);
        if (s->evaluation.windows)
            tokens.windows =
                awq__min(tokens.windows, s->evaluation.windows * tokens.longest_window);
    }
    return tokens;
}

static int64_t longest_of(const awq__sequences *sequences)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < sequences->count; i++)
        longest = awq__max(longest, sequences->offsets[i + 1] - sequences->offsets[i]);
    return longest;
}

awq__memory_tokens awq__memory_tokens_in(const awq__sequences *calibration,
                                         const awq__sequences *windows)
{
    return (awq__memory_tokens){.calibration =
                                    calibration->count ? awq__token_count(calibration) : 0,
                                .longest = longest_of(calibration),
                                .windows = windows->count ? awq__token_count(windows) : 0,
                                .longest_window = longest_of(windows)};
}

/* Of a number of bytes, upwards. */
static unsigned long long megabytes(double bytes)
{
    return (unsigned long long)ceil(bytes / 1e6);
}

awq_status awq__memory_fit(awq_context *ctx, const awq__memory_need *need,
                           const awq__memory_limit *limit)
{
    double least = need->process + need->least, bytes = (double)limit->bytes;
    int64_t left = awq__address_space_left();
    awq__context_limit_bytes(ctx, left);
    if (!limit->source[0])
        return AWQ_OK;
    if (least > bytes && limit->asked)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "memory_limit: %.2f MB are too few for this run, expected %lluMB or more, "
                         "or fewer tokens of calibration or evaluation",
                         bytes / 1e6, megabytes(least));
    if (least > bytes)
        return awq__fail(ctx, AWQ_ERROR_MEMORY,
                         "this run needs %llu MB of memory, but %s is %.2f MB; fewer tokens of "
                         "calibration or evaluation need less",
                         megabytes(least), limit->source, bytes / 1e6);
    awq__context_limit_bytes(ctx, awq__min(left, (int64_t)(bytes - need->process)));
    return AWQ_OK;
}

void awq__memory_end(awq_context *ctx)
{
    awq__context_limit_bytes(ctx, INT64_MAX);
}

awq_status awq__memory_begin(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__memory_tokens tokens = awq__memory_tokens_of(plan);
    awq__memory_limit limit;
    awq__memory_need need;
    AWQ__CHECK(awq__memory_need_of(ctx, plan, &tokens, &need));
    awq__context_expect_bytes(ctx, (int64_t)need.least);
    awq__memory_limit_find(plan->settings.memory_limit, &limit);
    double corpora;
    AWQ__CHECK(awq__memory_of_corpora(plan, &corpora));
    return need.process + corpora <= (double)limit.bytes ? AWQ_OK
                                                         : awq__memory_fit(ctx, &need, &limit);
}

bool awq__memory_is_tight(const awq__memory_need *need, const awq__memory_limit *limit)
{
    return limit->source[0] && need->process + 2 * need->usual > (double)limit->bytes;
}
