/* The nearest recipe whose result an engine loads: changes are tried on a copy of the facts. */
#include "plan/engine_rows.h"
#include "plan/value.h"

#include <string.h>

typedef awq__engine_module module;
typedef awq__engine_facts facts;
typedef awq__change change;

#define MOST_DEVICES 1024 /* that a smaller number is looked for */

static const int64_t group_sizes[] = {0, 128, 64, 32, -1};
static const int bit_counts[] = {0, 4, 8};

/* What a change of the scheme can ask of a format. */
typedef struct store {
    const char *name;
    int64_t packed_rows; /* that it makes a word of */
    bool eight;          /* codes of 8 bits too */
    bool adjustable;     /* bits, groups and symmetry are the recipe's to choose */
    bool target;         /* to change to: one for results to be served */
    bool all_experts;    /* and nothing else is quantized */
} store;

static const store stores[] = {
    {.name = "awq", .packed_rows = 8, .adjustable = true, .target = true},
    {.name = "compressed-tensors",
     .packed_rows = 1,
     .eight = true,
     .adjustable = true,
     .target = true},
    {.name = "gptq", .packed_rows = 8, .eight = true, .adjustable = true, .target = true},
    {.name = "mxfp4", .packed_rows = 1, .target = true, .all_experts = true},
    {.name = "bitsandbytes", .packed_rows = 1, .eight = true},
};
enum { STORES = sizeof stores / sizeof *stores };

static const store *store_of(const char *format)
{
    for (size_t i = 0; i < STORES; i++)
        if (!strcmp(stores[i].name, format))
            return &stores[i];
    return NULL;
}

/* ---- a smaller copy of the facts ---- */

static bool same_to_engines(const module *a, const module *b)
{
    bool same_scheme = !a->scheme == !b->scheme;
    if (a->scheme && b->scheme)
        same_scheme = a->scheme->code == b->scheme->code && a->scheme->bits == b->scheme->bits &&
                      a->scheme->group == b->scheme->group &&
                      a->scheme->symmetric == b->scheme->symmetric;
    /* Gate and up of one MLP must stay together; experts are one in all. */
    bool same_mlp = a->expert == b->expert || a->role == AWQ_ROLE_EXPERT;
    return same_scheme && same_mlp && a->role == b->role && a->part == b->part &&
           a->rows == b->rows && a->cols == b->cols;
}

/* Are the last modules, from `first` on, those of an earlier layer once more? */
static bool repeat_layer(const module *kinds, size_t first, size_t count)
{
    size_t length = count - first;
    for (size_t start = 0; start + length <= first; start++) {
        size_t same = 0;
        bool begins = !start || kinds[start - 1].layer != kinds[start].layer;
        bool ends = kinds[start + length - 1].layer != kinds[start + length].layer;
        while (begins && ends && same < length && kinds[start + same].layer == kinds[start].layer &&
               same_to_engines(&kinds[start + same], &kinds[first + same]))
            same++;
        if (same == length)
            return true;
    }
    return false;
}

/* A model has many experts and layers but few kinds of each: one of a kind is enough, and trying a
   thousand changes is cheap. */
static size_t keep_kinds(const facts *f, module *kinds)
{
    size_t count = 0, layer_first = 0;
    for (size_t i = 0; i < f->module_count; i++) {
        const module *m = &f->modules[i];
        if (i && m[-1].layer != m->layer) {
            if (repeat_layer(kinds, layer_first, count))
                count = layer_first;
            layer_first = count;
        }
        size_t at = layer_first;
        while (at < count && !same_to_engines(&kinds[at], m))
            at++;
        if (at == count)
            kinds[count++] = *m;
    }
    return count;
}

/* ---- applying a change ---- */

/* Facts that a change is applied to, and where the result is put. */
typedef struct trial {
    const facts *original; /* one module of each kind */
    module *modules;
    awq__scheme *schemes; /* of the modules */
    int64_t largest_group;
    int largest_bits;
    /* Where modules differ, a recipe has rules of its own for some, and the option for all others
       does not reach them. */
    bool mixed_bits, mixed_group, mixed_symmetry, all_symmetric;
} trial;

/* To what the other format stores, and as little else as can be. */
static void convert(const char *from, const char *to, awq__scheme *s)
{
    bool other = strcmp(from, to) != 0;
    if (other && !strcmp(to, "mxfp4"))
        *s = (awq__scheme){.code = AWQ__CODE_E2M1, .bits = 4, .group = 32, .symmetric = true};
    else if (other && s->code != AWQ__CODE_INTEGER)
        *s = (awq__scheme){
            .code = AWQ__CODE_INTEGER, .bits = s->bits, .group = s->group, .symmetric = true};
}

static void adjust(const change *c, awq__scheme *s)
{
    if (c->symmetric)
        s->symmetric = true;
    if (c->bits)
        s->bits = c->bits;
    if (c->group)
        s->group = c->group;
}

static bool is_linear_role(awq_role role)
{
    return ((AWQ__EXPERTS | AWQ__OTHER_LINEARS) & AWQ__ROLE_BIT(role)) != 0;
}

/* Gives m the scheme of the first quantized module of its unit and role. */
static void follow_unit(trial *t, awq__unit unit, size_t index)
{
    module *m = &t->modules[index];
    for (size_t i = 0; i < t->original->module_count; i++) {
        const module *other = &t->modules[i];
        if (other->scheme && other->role == m->role && awq__same_unit(unit, other, m)) {
            t->schemes[index] = *other->scheme;
            m->scheme = &t->schemes[index];
            return;
        }
    }
}

/* Gives all quantized modules the scheme of the first. */
static void follow_first(trial *t)
{
    const awq__scheme *first = NULL;
    for (size_t i = 0; i < t->original->module_count; i++) {
        if (!first)
            first = t->modules[i].scheme;
        else if (t->modules[i].scheme)
            t->schemes[i] = *first;
    }
}

static void make_alike(trial *t, awq__made_alike how)
{
    awq__unit unit = how == AWQ__UNITS_ALIKE ? AWQ__UNIT_LAYER : AWQ__UNIT_MODEL;
    for (size_t i = 0; i < t->original->module_count; i++) {
        module *m = &t->modules[i];
        if (how == AWQ__AS_THEY_ARE)
            return;
        bool expert = m->role == AWQ_ROLE_EXPERT;
        if (how == AWQ__EXPERTS_ALONE && !expert)
            m->scheme = NULL;
        else if (is_linear_role(m->role))
            follow_unit(t, expert ? unit : AWQ__UNIT_LINEAR, i);
    }
    if (how == AWQ__ALL_ALIKE)
        follow_first(t);
}

static bool can_be_stored(const trial *t, const store *s)
{
    size_t quantized = 0;
    for (size_t i = 0; i < t->original->module_count; i++) {
        const module *m = &t->modules[i];
        if (s->all_experts && !m->scheme != (m->role != AWQ_ROLE_EXPERT))
            return false;
        if (!m->scheme)
            continue;
        quantized++;
        bool bits = m->scheme->bits == 4 || (s->eight && m->scheme->bits == 8);
        bool groups = m->scheme->group < 1 || m->cols % m->scheme->group == 0;
        if (!bits || !groups || m->rows % s->packed_rows)
            return false;
    }
    return quantized > 0;
}

/* Does each option that the change sets reach all modules? */
static bool reaches_all(const trial *t, const change *c)
{
    return c->alike == AWQ__ALL_ALIKE ||
           !((c->bits && t->mixed_bits) || (c->group && t->mixed_group) ||
             (c->symmetric && t->mixed_symmetry));
}

/* *changed points into the trial. False if no such result can be stored. */
static bool apply(trial *t, const change *c, facts *changed)
{
    const facts *f = t->original;
    *changed = *f;
    changed->modules = t->modules;
    if (c->format)
        changed->format = c->format;
    if (c->tensor_parallel)
        changed->tensor_parallel = c->tensor_parallel;
    const store *s = store_of(changed->format);
    if (!s || (!s->adjustable && (c->symmetric || c->bits || c->group)) || !reaches_all(t, c))
        return false;
    for (size_t i = 0; i < f->module_count; i++) {
        t->modules[i] = f->modules[i];
        if (!f->modules[i].scheme)
            continue;
        t->schemes[i] = *f->modules[i].scheme;
        t->modules[i].scheme = &t->schemes[i];
        convert(f->format, changed->format, &t->schemes[i]);
        adjust(c, &t->schemes[i]);
    }
    make_alike(t, c->alike);
    return can_be_stored(t, s);
}

/* ---- the search ---- */

/* What a change costs the user: quality and size before convenience. */
static int cost_of_group(const trial *t, const change *c)
{
    int bits = c->bits ? c->bits : t->largest_bits;
    if (!c->group)
        return 0;
    if (c->group < 0)
        return bits == 8 ? 1 : 4; /* a row is a coarse group for 4 bits */
    return t->largest_group < 0 || c->group <= t->largest_group ? 1 : 2;
}

static int cost_of(const trial *t, const change *c)
{
    int cost = cost_of_group(t, c) + c->symmetric + (c->format ? 2 : 0) + (c->bits ? 3 : 0) +
               (int)c->alike;
    if (c->tensor_parallel)
        for (int64_t devices = t->original->tensor_parallel; devices > c->tensor_parallel;
             devices /= 2)
            cost += cost < 100 ? 2 : 0;
    return cost;
}

typedef struct search {
    const char *engine;
    awq__engine_level level;
    trial trial;
    change *best;
    int best_cost;
    bool *found;
} search;

/* A format with one scheme alone: what the recipe may say otherwise is said with it. False if a
   rule may say otherwise, too. */
static bool say_all(const trial *t, change *c)
{
    if (!c->format || strcmp(c->format, "mxfp4") != 0)
        return true;
    c->bits = t->largest_bits == 4 ? 0 : 4;
    c->group = t->largest_group == 32 ? 0 : 32;
    c->symmetric = !t->all_symmetric;
    return c->alike >= AWQ__ALL_ALIKE || !(t->mixed_bits || t->mixed_group || t->mixed_symmetry);
}

static void try_change(search *s, const change *c)
{
    facts changed;
    int cost = cost_of(&s->trial, c);
    if ((*s->found && cost >= s->best_cost) || !apply(&s->trial, c, &changed) ||
        !awq__engine_loads(s->engine, s->level, &changed))
        return;
    change all = *c;
    if (!say_all(&s->trial, &all))
        return;
    *s->best = all;
    s->best_cost = cost;
    *s->found = true;
}

static void try_devices(search *s, change c)
{
    for (int64_t devices = s->trial.original->tensor_parallel; devices > 1;) {
        try_change(s, &c);
        devices = devices % 2 || devices > MOST_DEVICES ? 1 : devices / 2;
        c.tensor_parallel = devices;
    }
    try_change(s, &c);
}

/* Does the change leave the scheme as it is? */
static bool is_idle(const trial *t, const change *c)
{
    return (c->bits && !t->mixed_bits && c->bits == t->largest_bits) ||
           (c->group && !t->mixed_group && c->group == t->largest_group) ||
           (c->symmetric && t->all_symmetric);
}

static void try_schemes(search *s, const char *format)
{
    change c = {.format = format};
    for (int how = 0; how < AWQ__MADE_ALIKE_COUNT; how++)
        for (int symmetric = 0; symmetric < 2; symmetric++)
            for (size_t b = 0; b < sizeof bit_counts / sizeof *bit_counts; b++)
                for (size_t g = 0; g < sizeof group_sizes / sizeof *group_sizes; g++) {
                    c.alike = (awq__made_alike)how;
                    c.symmetric = symmetric != 0;
                    c.bits = bit_counts[b];
                    c.group = group_sizes[g];
                    if (!is_idle(&s->trial, &c))
                        try_devices(s, c);
                }
}

static void measure(trial *t)
{
    const awq__scheme *first = NULL;
    t->all_symmetric = true;
    for (size_t i = 0; i < t->original->module_count; i++) {
        const awq__scheme *s = t->original->modules[i].scheme;
        if (!s)
            continue;
        first = first ? first : s;
        t->mixed_bits = t->mixed_bits || s->bits != first->bits;
        t->mixed_group = t->mixed_group || s->group != first->group;
        t->mixed_symmetry = t->mixed_symmetry || s->symmetric != first->symmetric;
        t->all_symmetric = t->all_symmetric && s->symmetric;
        t->largest_bits = (int)awq__max(t->largest_bits, s->bits);
        if (s->group < 0 || t->largest_group < 0)
            t->largest_group = -1;
        else
            t->largest_group = awq__max(t->largest_group, s->group);
    }
}

awq_status awq__engine_remedy(awq_context *ctx, const char *engine, awq__engine_level level,
                              const facts *f, change *best, bool *found)
{
    *found = false;
    const awq_option *formats = awq_option_find("format");
    module *kinds = awq__alloc(ctx, f->module_count, sizeof *kinds, "kinds of modules");
    AWQ__CHECK_ALLOC(kinds);
    facts smaller = *f;
    smaller.modules = kinds;
    smaller.module_count = keep_kinds(f, kinds);
    search s = {
        .engine = engine,
        .level = level,
        .best = best,
        .found = found,
        .trial = {.original = &smaller,
                  .modules = awq__alloc(ctx, smaller.module_count, sizeof *kinds, "a trial"),
                  .schemes = awq__alloc(ctx, smaller.module_count, sizeof(awq__scheme), "a trial")},
    };
    bool ready = s.trial.modules && s.trial.schemes;
    if (ready) {
        measure(&s.trial);
        try_schemes(&s, NULL);
        for (size_t i = 0; i < STORES; i++)
            if (stores[i].target && awq__word_in(formats->choices, '|', stores[i].name) &&
                strcmp(stores[i].name, f->format))
                try_schemes(&s, stores[i].name);
    }

    awq__free(s.trial.modules);
    awq__free(s.trial.schemes);
    awq__free(kinds);
    return ready ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* ---- as text ---- */

static awq_status append_units(awq_context *ctx, awq__text *text, const awq__engine_row *row,
                               const awq__hit *hit)
{
    bool of_row = row->constraint == AWQ__ALIKE;
    if (of_row && row->values[0] == AWQ__UNIT_LAYER && hit->units == 1)
        return awq__text_append(ctx, text, "keep or quantize all experts of layer %lld alike",
                                (long long)hit->module->layer);
    if (of_row && row->values[0] != AWQ__UNIT_LINEAR)
        return awq__text_append(ctx, text, "keep or quantize all experts of each layer alike");
    if (of_row && hit->units == 1)
        return awq__text_append(ctx, text, "keep or quantize %s as %s", hit->module->name,
                                hit->other->name);
    return awq__text_append(
        ctx, text, "keep or quantize alike%s q, k and v of a layer, and gate and up of an MLP",
        of_row ? "" : " all experts of a layer,");
}

static awq_status append_alike(awq_context *ctx, awq__text *text, awq__made_alike how,
                               const awq__engine_row *row, const awq__hit *hit)
{
    static const char *const phrases[AWQ__MADE_ALIKE_COUNT] = {
        [AWQ__EXPERTS_ALIKE] = "quantize all experts with one scheme",
        [AWQ__ALL_ALIKE] = "one scheme for all that is quantized",
        [AWQ__EXPERTS_ALONE] = "quantize all experts and nothing else",
    };
    return phrases[how] ? awq__text_append(ctx, text, "%s", phrases[how])
                        : append_units(ctx, text, row, hit);
}

static const char *comma(const awq__text *text)
{
    return text->length ? ", " : "";
}

char *awq__change_text(awq_context *ctx, const change *c, const awq__engine_row *row,
                       const awq__hit *hit)
{
    awq__text text = {0};
    awq_status status = AWQ_OK;
    if (c->format)
        AWQ__TRY(awq__text_append(ctx, &text, "format: %s", c->format));
    if (c->bits)
        AWQ__TRY(awq__text_append(ctx, &text, "%squantize.bits: %d", comma(&text), c->bits));
    if (c->group)
        AWQ__TRY(awq__text_append(ctx, &text, "%squantize.group_size: %lld", comma(&text),
                                  (long long)c->group));
    if (c->symmetric)
        AWQ__TRY(awq__text_append(ctx, &text, "%squantize.symmetric: true", comma(&text)));
    if (c->tensor_parallel)
        AWQ__TRY(awq__text_append(ctx, &text, "%stensor_parallel: %lld", comma(&text),
                                  (long long)c->tensor_parallel));
    if (c->alike) {
        AWQ__TRY(awq__text_append(ctx, &text, "%s", comma(&text)));
        AWQ__TRY(append_alike(ctx, &text, c->alike, row, hit));
    }
done:
    if (status != AWQ_OK)
        awq__text_free(&text);
    return text.data;
}
