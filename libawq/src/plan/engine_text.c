/* What a row takes and what was found instead, in words. */
#include "plan/engine_rows.h"

#include <string.h>

typedef awq__engine_module module;
typedef awq__engine_facts facts;
typedef awq__engine_row row;
typedef awq__hit hit;

/* As an engine calls itself. */
static const char *shown_name(const char *engine)
{
    if (!strcmp(engine, "vllm"))
        return "vLLM";
    if (!strcmp(engine, "tensorrt-llm"))
        return "TensorRT-LLM";
    return !strcmp(engine, "sglang") ? "SGLang" : engine;
}

static const char *versions(const row *r)
{
    return r->versions ? r->versions : "";
}

/* ---- what was found, as text ---- */

static char *scheme_text(awq_context *ctx, const awq__scheme *s)
{
    if (!s)
        return awq__strdup(ctx, "kept");
    const char *symmetry = s->symmetric ? "symmetric" : "with zero points";
    if (s->group < 1)
        return awq__format(ctx, "%d bits, a group a row, %s", s->bits, symmetry);
    return awq__format(ctx, "%d bits in groups of %lld, %s", s->bits, (long long)s->group,
                       symmetry);
}

static char *unlike_text(awq_context *ctx, const hit *h)
{
    char *text = NULL, *one = scheme_text(ctx, h->module->scheme);
    char *other = scheme_text(ctx, h->other->scheme);
    if (one && other)
        text = awq__format(ctx, "%s, but %s: %s", one, h->other->name, other);
    awq__free(one);
    awq__free(other);
    return text;
}

static char *shard_text(awq_context *ctx, const row *r, const facts *f, const module *m)
{
    awq__shard s = awq__shard_of(r, f, m);
    long long size = s.size, parallel = s.devices;
    const char *what = s.columns ? "columns" : "rows";
    if (size % parallel)
        return awq__format(ctx, "%lld %s do not divide by tensor_parallel %lld", size, what,
                           parallel);
    if (r->constraint == AWQ__SHARD_MULTIPLE)
        return awq__format(ctx, "%lld %s over tensor_parallel %lld are %lld", size, what, parallel,
                           size / parallel);
    return awq__format(
        ctx, "%lld %s over tensor_parallel %lld are %lld, which groups of %lld do not divide", size,
        what, parallel, size / parallel, (long long)s.group);
}

static char *found_text(awq_context *ctx, const row *r, const facts *f, const hit *h)
{
    const module *m = h->module;
    switch (r->constraint) {
    case AWQ__MODEL_TYPES:
        return awq__format(ctx, "%s of %s in the %s format", awq_role_name(m->role), f->model_type,
                           f->format);
    case AWQ__CODES_TAKEN:
        return awq__format(ctx, "%d bits%s", m->scheme->bits,
                           m->scheme->code == AWQ__CODE_INTEGER ? "" : ", not of integers");
    case AWQ__SYMMETRIC_TAKEN:
        return awq__strdup(ctx, "with zero points");
    case AWQ__GROUPS_TAKEN:
        return scheme_text(ctx, m->scheme);
    case AWQ__HIDDEN_MULTIPLE:
        return awq__format(ctx, "hidden_size %lld", (long long)f->hidden);
    case AWQ__SHARD_GROUPS:
    case AWQ__SHARD_MULTIPLE:
        return shard_text(ctx, r, f, m);
    case AWQ__TENSOR_PARALLEL:
        return awq__format(ctx, "tensor_parallel %lld", (long long)f->tensor_parallel);
    case AWQ__ALIKE:
    case AWQ__NONE_KEPT:
        return unlike_text(ctx, h);
    default:
        return awq__format(ctx, "%s in the %s format", awq_role_name(m->role), f->format);
    }
}

/* ---- what a row takes, as text ---- */

static const char *whose(const row *r)
{
    switch (r->roles) {
    case AWQ__EXPERTS:
        return "experts";
    case AWQ__OTHER_LINEARS:
        return "linears beside the experts";
    case AWQ__EXPERTS | AWQ__OTHER_LINEARS:
    case AWQ__ALL_ROLES:
        return "modules";
    case ~AWQ__EXPERTS:
        return "modules but experts";
    case AWQ__ROUTERS:
        return "routers";
    default:
        return "lm_head";
    }
}

/* "4 or 8", from values[from] to the first 0. */
static awq_status append_values(awq_context *ctx, awq__text *text, const row *r, int from)
{
    for (int i = from; i < AWQ__ROW_VALUES && r->values[i]; i++) {
        bool last = i + 1 == AWQ__ROW_VALUES || !r->values[i + 1];
        const char *between = i == from ? "" : last ? " or " : ", ";
        AWQ__CHECK(awq__text_append(ctx, text, "%s%lld", between, (long long)r->values[i]));
    }
    return AWQ_OK;
}

static awq_status append_model_types(awq_context *ctx, awq__text *text, const char *types)
{
    for (const char *at = types; *at;) {
        size_t length = strcspn(at, "|");
        AWQ__CHECK(awq__text_append(ctx, text, "%s%.*s", at == types ? "" : ", ", (int)length, at));
        at += length + (at[length] == '|');
    }
    return AWQ_OK;
}

static awq_status append_alike(awq_context *ctx, awq__text *text, const row *r)
{
    const char *which = r->values[1] ? "all" : "all quantized";
    const char *kept = r->values[1] ? ", or all kept" : "";
    const char *of = r->values[0] == AWQ__UNIT_LAYER ? " of a layer" : "";
    if (r->values[0] == AWQ__UNIT_LINEAR)
        return awq__text_append(ctx, text,
                                "q, k and v with one scheme%s, and so gate and up of an MLP", kept);
    return awq__text_append(ctx, text, "%s %s%s with one scheme%s", which, whose(r), of, kept);
}

/* "experts of 4 or 8 bits" */
static awq_status append_taken(awq_context *ctx, awq__text *text, const row *r)
{
    long long value = r->values[0];
    switch (r->constraint) {
    case AWQ__CODES_TAKEN:
        AWQ__CHECK(awq__text_append(ctx, text, "%s of ", whose(r)));
        AWQ__CHECK(append_values(ctx, text, r, 1));
        return awq__text_append(ctx, text, " bits%s",
                                value == AWQ__CODE_E2M1 ? " in E2M1" : ", integers");
    case AWQ__SYMMETRIC_TAKEN:
        AWQ__CHECK(awq__text_append(ctx, text, "%s without zero points", whose(r)));
        break;
    case AWQ__GROUPS_TAKEN:
        AWQ__CHECK(awq__text_append(ctx, text, "%s of group_size ", whose(r)));
        AWQ__CHECK(append_values(ctx, text, r, 0));
        break;
    case AWQ__MODEL_TYPES:
        AWQ__CHECK(awq__text_append(ctx, text, "%s of ", whose(r)));
        return append_model_types(ctx, text, r->model_types);
    case AWQ__HIDDEN_MULTIPLE:
        AWQ__CHECK(awq__text_append(ctx, text, "%s where hidden_size is a multiple of %lld",
                                    whose(r), value));
        break;
    case AWQ__SHARD_GROUPS:
        AWQ__CHECK(awq__text_append(
            ctx, text, "%s whose columns on one device are a multiple of the group", whose(r)));
        if (value)
            AWQ__CHECK(awq__text_append(ctx, text, " or of %lld", value));
        break;
    case AWQ__SHARD_MULTIPLE:
        AWQ__CHECK(awq__text_append(
            ctx, text, "%s whose intermediate size on one device is a multiple of %lld", whose(r),
            value));
        break;
    case AWQ__TENSOR_PARALLEL:
        return awq__text_append(ctx, text, "tensor_parallel up to %lld", value);
    case AWQ__ALIKE:
        return append_alike(ctx, text, r);
    case AWQ__NONE_KEPT:
        AWQ__CHECK(awq__text_append(ctx, text, "%s only if all of them are quantized", whose(r)));
        break;
    default:
        return awq__text_append(ctx, text, "no %s in this format", whose(r));
    }
    return r->bits ? awq__text_append(ctx, text, ", for %d bits", r->bits) : AWQ_OK;
}

/* What comes after the engine's name in a message. */
static char *taken_text(awq_context *ctx, const row *r)
{
    static const char *const where[] = {
        [AWQ__EVERYWHERE] = "",
        [AWQ__ODD_HIDDEN] = ", where hidden_size is no multiple of 128",
        [AWQ__NO_MARLIN] = ", where hidden_size is no multiple of 128 or devices break groups"};
    awq__text text = {0};
    awq_status status = AWQ_OK;
    if (r->level == AWQ__ENGINE_NOTE && r->constraint == AWQ__NONE_TAKEN)
        return awq__strdup(ctx, r->why);
    AWQ__TRY(awq__text_append(ctx, &text, r->level == AWQ__ENGINE_NOTE ? "prefers " : "takes "));
    AWQ__TRY(append_taken(ctx, &text, r));
    AWQ__TRY(awq__text_append(ctx, &text, "%s%s%s", where[r->where], r->why ? ": " : "",
                              r->why ? r->why : ""));
done:
    if (status != AWQ_OK)
        awq__text_free(&text);
    return text.data;
}

char *awq__engine_reason(awq_context *ctx, const row *r, const facts *f, const hit *h)
{
    char *reason = NULL, *more = NULL;
    char *found = found_text(ctx, r, f, h), *taken = taken_text(ctx, r);
    if (found && taken)
        more = h->count > 1 ? awq__format(ctx, " (and %zu modules more)", h->count - 1)
                            : awq__strdup(ctx, "");
    if (more)
        reason = awq__format(ctx, "%s: %s%s; %s%s%s %s", h->module->name, found, more,
                             shown_name(r->engine), r->versions ? " " : "", versions(r), taken);
    awq__free(found);
    awq__free(taken);
    awq__free(more);
    return reason;
}

/* The same for a table of all models. */
static char *table_text(awq_context *ctx, const row *r)
{
    static const char *const scopes[] = {
        [AWQ__EITHER] = "",
        [AWQ__ONLY] = " (gpt_oss and others released with experts in MXFP4)",
        [AWQ__NOT] = " (all but gpt_oss and others released with experts in MXFP4)"};
    char *taken = taken_text(ctx, r);
    char *text = taken ? awq__format(ctx, "%s%s", taken, scopes[r->native_mxfp4]) : NULL;
    awq__free(taken);
    return text;
}

awq_status awq__engine_row_at(awq_context *ctx, size_t index, awq__engine_row_text *text)
{
    static const char *const levels[] = {[AWQ__ENGINE_REFUSES] = "refused",
                                         [AWQ__ENGINE_OLD] = "refused by these versions",
                                         [AWQ__ENGINE_NOTE] = "note"};
    const row *r = awq__engine_row_of(index);
    *text = (awq__engine_row_text){.engine = shown_name(r->engine),
                                   .versions = versions(r),
                                   .formats = r->formats,
                                   .level = levels[r->level],
                                   .source = r->source,

                                   .constraint = table_text(ctx, r)};
    return text->constraint ? AWQ_OK : AWQ_ERROR_MEMORY;
}
