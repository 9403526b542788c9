/* What engines make of a result: the rows that apply, as findings. */
#include "plan/engine_rows.h"
#include "plan/value.h"

#include <string.h>

typedef awq__engine_module module;
typedef awq__engine_facts facts;
typedef awq__engine_row row;
typedef awq__hit hit;

/* A remedy for each level, searched for when it is first asked for. */
typedef struct remedies {
    bool searched[AWQ__ENGINE_NOTE + 1], found[AWQ__ENGINE_NOTE + 1];
    awq__change change[AWQ__ENGINE_NOTE + 1];
} remedies;

static awq_status add_remedy(awq_context *ctx, const row *r, const facts *f, const hit *h,
                             remedies *known, char **text)
{
    awq__engine_level level = r->level;
    if (!known->searched[level]) {
        AWQ__CHECK(awq__engine_remedy(ctx, r->engine, level, f, &known->change[level],
                                      &known->found[level]));
        known->searched[level] = true;
    }
    if (!known->found[level])
        return AWQ_OK;
    *text = awq__change_text(ctx, &known->change[level], r, h);
    return *text ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status add_finding(awq_context *ctx, size_t index, const facts *f, const hit *h,
                              bool refused, remedies *known, awq__findings *findings)
{
    const row *r = awq__engine_row_of(index);
    AWQ__CHECK(awq__grow(ctx, &findings->items, &findings->capacity, findings->count + 1,
                         sizeof *findings->items, "findings about engines"));
    awq__finding *finding = &findings->items[findings->count++];
    *finding = (awq__finding){.refused = refused,
                              .level = r->level,
                              .row = index,
                              .engine = r->engine,
                              .versions = r->versions ? r->versions : "",
                              .source = r->source,
                              .reason = awq__engine_reason(ctx, r, f, h)};
    return finding->reason ? add_remedy(ctx, r, f, h, known, &finding->remedy) : AWQ_ERROR_MEMORY;
}

/* Nothing else about the format matters where experts cannot be read in it at all. */
static bool is_final(const row *r)
{
    return r->level == AWQ__ENGINE_REFUSES && (r->roles & AWQ__EXPERTS) &&
           (r->constraint == AWQ__NONE_TAKEN || r->constraint == AWQ__MODEL_TYPES);
}

/* What an engine has against a result: the level of the worst, and whether some of it is final. */
typedef struct verdict {
    awq__engine_level worst;
    bool final;
} verdict;

static verdict judge(const char *engine, const facts *f)
{
    verdict v = {.worst = AWQ__ENGINE_NOTE};
    for (size_t i = 0; i < awq__engine_row_count(); i++) {
        const row *r = awq__engine_row_of(i);
        bool matters = r->level < v.worst || (is_final(r) && !v.final);
        if (!matters || strcmp(r->engine, engine) || !awq__engine_hit(r, f).count)
            continue;
        v.worst = r->level < v.worst ? r->level : v.worst;
        v.final = v.final || is_final(r);
    }
    return v;
}

/* One that does not load the result has no other merits. `named`: it was asked for by name. */
static awq_status check_one(awq_context *ctx, const char *engine, bool named, const facts *f,
                            awq__findings *findings)
{
    remedies known = {0};
    verdict v = judge(engine, f);
    for (size_t i = 0; i < awq__engine_row_count(); i++) {
        const row *r = awq__engine_row_of(i);
        bool shown = v.worst == AWQ__ENGINE_REFUSES ? r->level == AWQ__ENGINE_REFUSES
                                                    : named || r->level < AWQ__ENGINE_NOTE;
        if (!shown || strcmp(r->engine, engine) || (v.final && !is_final(r)))
            continue;
        hit h = awq__engine_hit(r, f);
        if (h.count)
            AWQ__CHECK(add_finding(ctx, i, f, &h, named && r->level == AWQ__ENGINE_REFUSES, &known,
                                   findings));
    }
    return AWQ_OK;
}

static awq_status check_arguments(awq_context *ctx, const char *engine, const facts *f)
{
    if (!awq__word_in(AWQ__ENGINE_CHOICES, '|', engine))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "engine: \"%s\" is not one of %s", engine,
                         AWQ__ENGINE_CHOICES);
    for (size_t i = 0; i < awq__engine_row_count(); i++)
        if (awq__word_in(awq__engine_row_of(i)->formats, '|', f->format))
            return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                     "format: what engines make of \"%s\" is not in their table", f->format);
}

awq__engine_module awq__engine_module_of(const awq__module *of, const awq__scheme *scheme)
{
    return (awq__engine_module){.name = of->name,
                                .role = of->role,
                                .part = of->part,
                                .layer = of->layer,
                                .expert = of->expert,
                                .rows = of->rows,
                                .cols = of->cols,
                                .scheme = scheme};
}

bool awq__has_native_mxfp4(const awq__arch *arch)
{
    for (int64_t n = 0; n < arch->model.layer_count; n++)
        if (arch->layers[n].experts.mxfp4)
            return true;
    return false;
}

awq_status awq__engines_check(awq_context *ctx, const char *engine, const facts *f,
                              awq__findings *findings)
{
    static const char *const engines[] = {"vllm", "sglang", "transformers", "llama.cpp",
                                          "tensorrt-llm"};
    bool any = !strcmp(engine, "any");
    *findings = (awq__findings){0};
    awq_status status;
    AWQ__TRY(check_arguments(ctx, engine, f));
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (any || !strcmp(engine, engines[i]))
            AWQ__TRY(check_one(ctx, engines[i], !any, f, findings));
done:
    if (status != AWQ_OK)
        awq__findings_free(findings);
    return status;
}

void awq__findings_free(awq__findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        awq__free(findings->items[i].reason);
        awq__free(findings->items[i].remedy);
    }
    awq__free(findings->items);
    *findings = (awq__findings){0};
}
