/* Which rows of the table apply to a result: one function for each kind of constraint. */
#include "plan/engine_rows.h"
#include "plan/value.h"

#include <string.h>

typedef awq__engine_module module;
typedef awq__engine_facts facts;
typedef awq__engine_row row;
typedef awq__hit hit;

/* ---- scope ---- */

static bool has_role(const row *r, const module *m)
{
    return (r->roles & AWQ__ROLE_BIT(m->role)) != 0;
}

static bool scope_has(awq__scope scope, bool value)
{
    return scope == AWQ__EITHER || (scope == AWQ__ONLY) == value;
}

static bool in_scope(const row *r, const module *m)
{
    return m->scheme && has_role(r, m) && (!r->bits || r->bits == m->scheme->bits);
}

/* ---- constraints on one module: does it break the row? ---- */

static bool break_none(const row *r, const facts *f, const module *m)
{
    (void)r, (void)f, (void)m;
    return true;
}

static bool break_codes(const row *r, const facts *f, const module *m)
{
    (void)f;
    if ((int64_t)m->scheme->code != r->values[0])
        return true;
    for (int i = 1; i < AWQ__ROW_VALUES; i++)
        if (r->values[i] == m->scheme->bits)
            return false;
    return true;
}

static bool break_symmetric(const row *r, const facts *f, const module *m)
{
    (void)r, (void)f;
    return !m->scheme->symmetric;
}

static bool break_groups(const row *r, const facts *f, const module *m)
{
    (void)f;
    for (int i = 0; i < AWQ__ROW_VALUES && r->values[i]; i++)
        if (r->values[i] == m->scheme->group)
            return false;
    return true;
}

static bool break_model_types(const row *r, const facts *f, const module *m)
{
    (void)m;
    return !awq__word_in(r->model_types, '|', f->model_type);
}

static bool break_hidden(const row *r, const facts *f, const module *m)
{
    (void)m;
    return f->hidden % r->values[0] != 0;
}

awq__shard awq__shard_of(const row *r, const facts *f, const module *m)
{
    bool columns = m->part == AWQ__PART_DOWN || m->part == AWQ__PART_O;
    bool whole = m->part == AWQ__PART_Q_A || m->part == AWQ__PART_KV_A; /* on each device */
    int64_t group = m->scheme->group;
    if (r->values[0] && r->values[0] < group)
        group = r->values[0];
    return (awq__shard){.columns = columns,
                        .size = columns ? m->cols : m->rows,
                        .devices = whole ? 1 : awq__max(f->tensor_parallel, 1),
                        .group = awq__max(group, 1)};
}

static bool break_shard_groups(const row *r, const facts *f, const module *m)
{
    awq__shard s = awq__shard_of(r, f, m);
    return s.columns && (s.size % s.devices != 0 || s.size / s.devices % s.group != 0);
}

static bool break_shard_multiple(const row *r, const facts *f, const module *m)
{
    awq__shard s = awq__shard_of(r, f, m);
    return s.size % s.devices != 0 || s.size / s.devices % r->values[0] != 0;
}

static bool break_parallel(const row *r, const facts *f, const module *m)
{
    (void)m;
    return f->tensor_parallel > r->values[0];
}

static bool (*const breaks[AWQ__CONSTRAINT_COUNT])(const row *, const facts *, const module *) = {
    [AWQ__NONE_TAKEN] = break_none,           [AWQ__CODES_TAKEN] = break_codes,
    [AWQ__SYMMETRIC_TAKEN] = break_symmetric, [AWQ__GROUPS_TAKEN] = break_groups,
    [AWQ__MODEL_TYPES] = break_model_types,   [AWQ__HIDDEN_MULTIPLE] = break_hidden,
    [AWQ__SHARD_GROUPS] = break_shard_groups, [AWQ__SHARD_MULTIPLE] = break_shard_multiple,
    [AWQ__TENSOR_PARALLEL] = break_parallel,
};

/* ---- a constraint on several: what belongs together is alike ---- */

/* Parts with the same number, of one layer and MLP, are slices of one matrix; 0 for none. */
static int slice_of(const module *m)
{
    switch (m->part) {
    case AWQ__PART_Q:
    case AWQ__PART_K:
    case AWQ__PART_V:
        return 1;
    case AWQ__PART_GATE:
    case AWQ__PART_UP:
        return 2;
    case AWQ__PART_DELTA_QKV:
    case AWQ__PART_DELTA_Z:
        return 3;
    case AWQ__PART_Q_A:
    case AWQ__PART_KV_A:
        return 4;
    default:
        return 0;
    }
}

bool awq__same_unit(awq__unit unit, const module *a, const module *b)
{
    if (unit == AWQ__UNIT_MODEL)
        return true;
    if (a->layer != b->layer)
        return false;
    return unit == AWQ__UNIT_LAYER || (slice_of(a) && slice_of(a) == slice_of(b) &&
                                       a->role == b->role && a->expert == b->expert);
}

static bool alike(const module *a, const module *b)
{
    const awq__scheme *s = a->scheme, *t = b->scheme;
    if (!s || !t)
        return !s == !t;
    return s->code == t->code && s->bits == t->bits && s->group == t->group &&
           s->symmetric == t->symmetric;
}

/* Those of a unit stand together, so that each is compared with the unit's first. */
static void find_unlike(const row *r, const facts *f, hit *h)
{
    const module *first = NULL;
    bool counted = false;
    for (size_t i = 0; i < f->module_count; i++) {
        const module *m = &f->modules[i];
        if (!has_role(r, m) || (!m->scheme && !r->values[1]))
            continue;
        if (r->values[0] == AWQ__UNIT_LINEAR && !slice_of(m))
            continue;
        if (!first || !awq__same_unit((awq__unit)r->values[0], first, m)) {
            first = m;
            counted = false;
        } else if (!alike(first, m)) {
            if (!h->count++) {
                h->module = m;
                h->other = first;
            }
            h->units += !counted;
            counted = true;
        }
    }
}

static void find_kept(const row *r, const facts *f, hit *h)
{
    for (size_t i = 0; i < f->module_count; i++) {
        const module *m = &f->modules[i];
        if (m->scheme)
            h->other = h->other ? h->other : m;
        else if (has_role(r, m) && !h->count++)
            h->module = m;
    }
    if (!h->other)
        *h = (hit){0};
}

/* ---- where a row applies ---- */

static bool breaks_groups(const facts *f)
{
    static const row whole_groups = {.constraint = AWQ__SHARD_GROUPS};
    for (size_t i = 0; i < f->module_count; i++) {
        const module *m = &f->modules[i];
        if (m->scheme && m->role == AWQ_ROLE_EXPERT && break_shard_groups(&whole_groups, f, m))
            return true;
    }
    return false;
}

static bool is_for(const row *r, const facts *f)
{
    bool odd = f->hidden % AWQ__MARLIN_HIDDEN != 0;
    return awq__word_in(r->formats, '|', f->format) &&
           scope_has(r->native_mxfp4, f->native_mxfp4) &&
           (r->where == AWQ__EVERYWHERE || odd || (r->where == AWQ__NO_MARLIN && breaks_groups(f)));
}

hit awq__engine_hit(const row *r, const facts *f)
{
    hit h = {0};
    if (!is_for(r, f))
        return h;
    if (r->constraint == AWQ__ALIKE || r->constraint == AWQ__NONE_KEPT) {
        (r->constraint == AWQ__ALIKE ? find_unlike : find_kept)(r, f, &h);
        return h;
    }
    for (size_t i = 0; i < f->module_count; i++) {
        const module *m = &f->modules[i];
        if (in_scope(r, m) && breaks[r->constraint](r, f, m) && !h.count++)
            h.module = m;
    }
    return h;
}

bool awq__engine_loads(const char *engine, awq__engine_level level, const facts *f)
{
    for (size_t i = 0; i < awq__engine_row_count(); i++) {
        const row *r = awq__engine_row_of(i);
        if (r->level <= level && !strcmp(r->engine, engine) && awq__engine_hit(r, f).count)
            return false;
    }
    return true;
}
