/* Normalizers: a prefix, replacements, and the four Unicode normalization forms. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* No honest file makes a text this much longer; a chain of replacements can. */
#define MAX_GROWTH 64
#define GROWTH_ALLOWANCE 65536
#define MAX_STEPS 64
#define MAX_DECOMPOSITION 32

void awq__normalizer_free(awq__normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        awq__pattern_free(&normalizer->steps[i].pattern);
        awq__free(normalizer->steps[i].content);
    }
    awq__free(normalizer->steps);
    *normalizer = (awq__normalizer){0};
}

static awq_status load_content(const awq__source *source, const cJSON *item, const char *what,
                               const char *name, awq__normal_step *step)
{
    const char *content;
    AWQ__CHECK(awq__field_string(source, item, what, name, false, &content));
    step->content = awq__strdup(source->ctx, content);
    return step->content ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status load_prepend(const awq__source *source, const cJSON *item, awq__normal_step *step)
{
    AWQ__CHECK(awq__field_names(source, item, "normalizer Prepend", "type prepend"));
    step->kind = AWQ__NORMAL_PREPEND;
    return load_content(source, item, "normalizer Prepend", "prepend", step);
}

static awq_status load_replace(const awq__source *source, const cJSON *item, awq__normal_step *step)
{
    AWQ__CHECK(awq__field_names(source, item, "normalizer Replace", "type pattern content"));
    step->kind = AWQ__NORMAL_REPLACE;
    AWQ__CHECK(awq__pattern_load(source, awq__field(item, "pattern"), "normalizer Replace",
                                 &step->pattern));
    return load_content(source, item, "normalizer Replace", "content", step);
}

static awq_status load_step(const awq__source *source, const cJSON *item, const char *type,
                            awq__normalizer *normalizer)
{
    if (normalizer->count == MAX_STEPS)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED, "%s: more than %d normalizers",
                         source->file, MAX_STEPS);
    AWQ__CHECK(awq__grow(source->ctx, &normalizer->steps, &normalizer->capacity,
                         normalizer->count + 1, sizeof *normalizer->steps, "normalizers"));
    awq__normal_step *step = &normalizer->steps[normalizer->count++];
    *step = (awq__normal_step){0};
    if (!strcmp(type, "Prepend"))
        return load_prepend(source, item, step);
    if (!strcmp(type, "Replace"))
        return load_replace(source, item, step);
    step->kind = AWQ__NORMAL_UNICODE;
    step->compose = type[strlen(type) - 1] == 'C';
    step->compatible = type[2] == 'K';
    return awq__field_names(source, item, "a Unicode normalizer", "type");
}

awq_status awq__normalizer_load(const awq__source *source, const cJSON *item,
                                awq__normalizer *normalizer)
{
    static const char *const known[] = {"Prepend", "Replace", "NFC", "NFD", "NFKC", "NFKD"};
    const char *type;
    if (!item || cJSON_IsNull(item))
        return AWQ_OK;
    AWQ__CHECK(awq__field_type(source, item, "normalizer", &type));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(type, known[i]))
            return load_step(source, item, type, normalizer);
    if (strcmp(type, "Sequence"))
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: the normalizer \"%s\" is not supported", source->file, type);
    const cJSON *steps = awq__field(item, "normalizers"), *step;
    AWQ__CHECK(awq__field_names(source, item, "normalizer Sequence", "type normalizers"));
    if (!cJSON_IsArray(steps))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: normalizer Sequence: \"normalizers\" is not an array", source->file);
    cJSON_ArrayForEach(step, steps)
    {
        AWQ__CHECK(awq__normalizer_load(source, step, normalizer));
    }
    return AWQ_OK;
}

static awq_status replace(const awq__source *source, const awq__normal_step *step,
                          awq__match_data *data, const char *text, size_t bytes, awq__text *out,
                          size_t limit)
{
    awq__scan scan = {source, &step->pattern, data, text, bytes, 0, 0, false, false};
    size_t content_bytes = strlen(step->content), copied = 0, start, end;
    for (;;) {
        bool found;
        AWQ__CHECK(awq__scan_next(&scan, &found, &start, &end));
        AWQ__CHECK(awq__text_append_bytes(source->ctx, out, text + copied,
                                          (found ? start : bytes) - copied));
        if (!found)
            return AWQ_OK;
        AWQ__CHECK(awq__text_append_bytes(source->ctx, out, step->content, content_bytes));
        copied = end;
        if (out->length > limit) /* the caller reports it */
            return AWQ_OK;
    }
}

/* One character on its way through a normalization form. */
typedef struct character {
    utf8proc_int32_t code_point;
    utf8proc_propval_t combining;
} character;

/* Marks are sorted by class. They come in runs of a few, but a hostile run may be as long as the
   text, so this is a merge sort; like the standard's, it is stable. */
static void sort_marks(character *marks, character *spare, size_t count)
{
    if (count < 2)
        return;
    size_t half = count / 2, left = 0, right = half;
    sort_marks(marks, spare, half);
    sort_marks(marks + half, spare, count - half);
    memcpy(spare, marks, count * sizeof *marks);
    for (size_t i = 0; i < count; i++) {
        bool from_right =
            left == half || (right < count && spare[right].combining < spare[left].combining);
        marks[i] = from_right ? spare[right++] : spare[left++];
    }
}

typedef struct former {
    awq_context *ctx;
    const awq__normal_step *step;
    awq__text *out;
    character *characters, *spare;
    utf8proc_int32_t *composed;
    size_t count, capacity, spare_capacity, composed_capacity;
} former;

static void order_marks(former *f)
{
    for (size_t i = 0; i < f->count;) {
        size_t begin = i;
        while (i < f->count && f->characters[i].combining)
            i++;
        sort_marks(f->characters + begin, f->spare, i - begin);
        i += i == begin;
    }
}

/* Orders and composes the characters gathered so far, and writes them. */
static awq_status flush(former *f)
{
    AWQ__CHECK(awq__grow(f->ctx, &f->spare, &f->spare_capacity, f->count, sizeof *f->spare,
                         "normalization"));
    AWQ__CHECK(awq__grow(f->ctx, &f->composed, &f->composed_capacity, f->count + 1,
                         sizeof *f->composed, "normalization"));
    order_marks(f);
    for (size_t i = 0; i < f->count; i++)
        f->composed[i] = f->characters[i].code_point;
    utf8proc_ssize_t length = (utf8proc_ssize_t)f->count;
    if (f->step->compose)
        length = utf8proc_normalize_utf32(f->composed, length, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    awq_status status = AWQ_OK;
    for (utf8proc_ssize_t i = 0; i < length; i++)
        AWQ__TRY(awq__utf8_append(f->ctx, f->out, (uint32_t)f->composed[i]));
done:
    f->count = 0;
    return status;
}

static awq_status decompose(former *f, uint32_t code_point)
{
    utf8proc_int32_t parts[MAX_DECOMPOSITION];
    int boundary = 0;
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (f->step->compatible)
        options |= UTF8PROC_COMPAT;
    utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)code_point, parts, MAX_DECOMPOSITION,
                                (utf8proc_option_t)options, &boundary);
    if (count < 0 || count > MAX_DECOMPOSITION)
        return awq__fail(f->ctx, AWQ_ERROR_FORMAT, "U+%04X cannot be normalized",
                         (unsigned)code_point);
    AWQ__CHECK(awq__grow(f->ctx, &f->characters, &f->capacity, f->count + (size_t)count,
                         sizeof *f->characters, "normalization"));
    for (utf8proc_ssize_t i = 0; i < count; i++)
        f->characters[f->count++] =
            (character){parts[i], utf8proc_get_property(parts[i])->combining_class};
    return AWQ_OK;
}

/*
 * ASCII characters begin something new, and so do inert characters, which also end it: what is
 * between is normalized on its own. Thus most of a text is only copied.
 */
static awq_status unicode_form(awq_context *ctx, const awq__normal_step *step, const char *text,
                               size_t bytes, awq__text *out)
{
    former f = {.ctx = ctx, .step = step, .out = out};
    awq_status status = AWQ_OK;
    for (size_t at = 0; at < bytes;) {
        uint32_t code_point;
        size_t length = awq__utf8_next(text + at, &code_point);
        bool ascii = code_point < 0x80;
        bool alone =
            ascii ? at + 1 == bytes || (uint8_t)text[at + 1] < 0x80 : awq__is_inert(code_point);
        if ((ascii || alone) && f.count)
            AWQ__TRY(flush(&f));
        AWQ__TRY(alone ? awq__text_append_bytes(ctx, out, text + at, length)
                       : decompose(&f, code_point));
        at += length;
    }
    if (f.count)
        AWQ__TRY(flush(&f));
done:
    awq__free(f.characters);
    awq__free(f.spare);
    awq__free(f.composed);
    return status;
}

static awq_status prepend(awq_context *ctx, const char *prefix, const char *text, size_t bytes,
                          awq__text *out)
{
    AWQ__CHECK(awq__text_append_bytes(ctx, out, prefix, bytes ? strlen(prefix) : 0));
    return awq__text_append_bytes(ctx, out, text, bytes);
}

awq_status awq__normalize(const awq__source *source, const awq__normalizer *normalizer,
                          awq__match_data *data, awq__text work[2], const char **text,
                          size_t *bytes)
{
    size_t limit;
    if (awq__mul_overflows(*bytes, MAX_GROWTH, &limit) ||
        awq__add_overflows(limit, GROWTH_ALLOWANCE, &limit))
        limit = SIZE_MAX;
    for (size_t i = 0; i < normalizer->count; i++) {
        const awq__normal_step *step = &normalizer->steps[i];
        awq__text *out = &work[i % 2];
        out->length = 0;
        if (step->kind == AWQ__NORMAL_PREPEND)
            AWQ__CHECK(prepend(source->ctx, step->content, *text, *bytes, out));
        else if (step->kind == AWQ__NORMAL_REPLACE)
            AWQ__CHECK(replace(source, step, data, *text, *bytes, out, limit));
        else
            AWQ__CHECK(unicode_form(source->ctx, step, *text, *bytes, out));
        if (out->length > limit)
            return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: the normalizers make a text more than %d times longer",
                             source->file, MAX_GROWTH);
        *text = out->data;
        *bytes = out->length;
    }
    return AWQ_OK;
}
