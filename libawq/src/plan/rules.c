#include "compute/blocks.h"
#include "plan/rules.h"
#include "plan/value.h"
#include "text/name_pattern.h"

#include <stdio.h>
#include <string.h>

/* Routers hold almost no weights and tolerate no rounding; embedding and head few formats store. */
static bool may_quantize(const awq__rules *rules, awq_role role)
{
    bool end = role == AWQ_ROLE_EMBEDDING || role == AWQ_ROLE_HEAD;
    return role == AWQ_ROLE_EXPERT || role == AWQ_ROLE_SHARED_EXPERT ||
           role == AWQ_ROLE_ATTENTION || role == AWQ_ROLE_MLP || (end && rules->ends);
}

bool awq__same_treatment(const awq__treatment *a, const awq__treatment *b)
{
    return a->scheme.code == b->scheme.code && a->scheme.bits == b->scheme.bits &&
           a->scheme.group == b->scheme.group && a->scheme.symmetric == b->scheme.symmetric &&
           a->scheme.blocks == b->scheme.blocks && a->calibrate == b->calibrate &&
           a->scale == b->scale && a->clip == b->clip && a->gptq == b->gptq &&
           a->automatic == b->automatic;
}

awq_status awq__rules_treat(awq_context *ctx, awq__rules *rules, size_t index,
                            const awq__treatment *treatment)
{
    rules->of[index] = NULL;
    if (!treatment)
        return AWQ_OK;
    for (size_t i = 0; i < rules->treatment_count; i++)
        if (awq__same_treatment(rules->treatments[i], treatment)) {
            rules->of[index] = rules->treatments[i];
            return AWQ_OK;
        }
    AWQ__CHECK(awq__grow(ctx, &rules->treatments, &rules->treatment_capacity,
                         rules->treatment_count + 1, sizeof *rules->treatments, "treatments"));
    awq__treatment *copy = awq__alloc(ctx, 1, sizeof *copy, "a treatment");
    AWQ__CHECK_ALLOC(copy);
    *copy = *treatment;
    rules->treatments[rules->treatment_count++] = copy;
    rules->of[index] = copy;
    return AWQ_OK;
}

void awq__rules_update(awq__rules *rules, const awq__arch *arch)
{
    rules->calibrate = false;
    for (size_t i = 0; i < arch->module_count; i++)
        rules->calibrate |= rules->of[i] && rules->of[i]->calibrate;
}

awq__scheme awq__rules_scheme(const awq__rules *rules, const awq__arch *arch, size_t index)
{
    awq__scheme scheme = rules->of[index]->scheme;
    if (scheme.group < 0)
        scheme.group = arch->modules[index].cols;
    return scheme;
}

/* ---- treatments ---- */

static awq__scheme scheme_from(const awq__settings *settings, awq__rule_defaults defaults)
{
    awq__scheme scheme = {.bits = (int)settings->quantize.bits};
    defaults(scheme.bits, &scheme.symmetric, &scheme.group);
    if (settings->quantize.group_size)
        scheme.group = settings->quantize.group_size;
    if (settings->quantize.symmetric != AWQ__SYMMETRIC_AUTO)
        scheme.symmetric = settings->quantize.symmetric == AWQ__SYMMETRIC_TRUE;
    return scheme;
}

static awq__treatment treatment_from(const awq__settings *settings, awq__rule_defaults defaults)
{
    const awq__block_type *blocks = awq__block_type_by_name(settings->quantize.type);
    awq__treatment t = {.scheme = scheme_from(settings, defaults)};
    if (blocks)
        t.scheme = awq__block_scheme(blocks);
    t.calibrate = settings->quantize.method != AWQ__METHOD_RTN;
    t.scale = settings->quantize.method == AWQ__METHOD_AWQ;
    t.clip = t.scale && settings->quantize.clip;
    t.gptq = settings->quantize.method == AWQ__METHOD_GPTQ ||
             (t.scale && settings->quantize.rounding == AWQ__ROUNDING_GPTQ);
    return t;
}

/* ---- which modules ---- */

static awq_status nothing_matches(awq_context *ctx, const awq__arch *arch, awq__rules *rules,
                                  const char *what)
{
    return awq__rules_warn_alike(ctx, rules, AWQ__ALIKE_UNMATCHED,
                                 "%s matches no module; names look like %s", what,
                                 arch->modules[awq__arch_index(arch, 0, AWQ__PART_GATE, 0)].name);
}

/* What a pattern or a rule matched. */
typedef struct matched {
    size_t treated;             /* that may be quantized */
    const awq__module *refused; /* one that may not, a router if there is one */
} matched;

static void count_match(const awq__rules *rules, const awq__module *module, matched *m)
{
    if (may_quantize(rules, module->role))
        m->treated++;
    else if (!m->refused ||
             (module->role == AWQ_ROLE_ROUTER && m->refused->role != AWQ_ROLE_ROUTER))
        m->refused = module;
}

/* ---- rules ---- */

typedef struct rule {
    const char *role, *layers, *experts, *projection;
    awq__name_pattern pattern;
    bool has_pattern, keep;
    awq__treatment treatment;
    matched matched;
} rule;

static bool is_router(const awq__module *module)
{
    return module->role == AWQ_ROLE_ROUTER;
}

/* The tensor of all experts of a layer that the matrix is a part of, as the plugin names it, or,
   `derived`, beside the experts' own names; false if it has none. */
static bool fused_name(const awq__arch *arch, const awq__module *module, bool derived,
                       char name[AWQ_NAME_BYTES])
{
    static const char part[] = ".experts.";
    if (module->role != AWQ_ROLE_EXPERT)
        return false;
    const awq_arch_experts *experts = &arch->layers[module->layer].experts;
    const char *fused =
        module->part == AWQ__PART_DOWN ? experts->fused_down : experts->fused_gate_up;
    const char *leaf = strrchr(fused, '.'), *at = strstr(module->name, part);
    if (!leaf || (derived && !at))
        return false;
    if (derived)
        snprintf(name, AWQ_NAME_BYTES, "%.*s%s", (int)(at + sizeof part - 2 - module->name),
                 module->name, leaf);
    else
        snprintf(name, AWQ_NAME_BYTES, "%s", fused);
    return true;
}

/* Does the pattern name the module, or the tensor of all experts that it is a part of? That only
   where it has the last component of such a name. */
static awq_status names_module(awq_context *ctx, const awq__arch *arch,
                               const awq__name_pattern *pattern, const awq__module *module,
                               bool *matches)
{
    char fused[AWQ_NAME_BYTES];
    AWQ__CHECK(awq__name_pattern_match(ctx, pattern, module->name, matches));
    for (int derived = 0; derived < 2 && !*matches; derived++)
        if (fused_name(arch, module, derived != 0, fused) &&
            strstr(pattern->text, strrchr(fused, '.') + 1))
            AWQ__CHECK(awq__name_pattern_match(ctx, pattern, fused, matches));
    return AWQ_OK;
}

/*
 * Engines of latent attention multiply what makes keys and values into q and o when they load a
 * model, and need its floats for that; it is small. Only who names it has it quantized: by its
 * projection, or by the last component of its name.
 */
static bool stays_by_default(const awq__module *module, const char *projections,
                             const char *pattern)
{
    const char *leaf = strrchr(module->name, '.');
    return module->part == AWQ__PART_KV_B &&
           !(projections && awq__value_lists(projections, "kv_b")) &&
           !(pattern && strstr(pattern, leaf ? leaf + 1 : module->name));
}

static awq_status tell_absorbed(awq_context *ctx, awq__rules *rules, const awq__module *module)
{
    return awq__rules_warn_alike(ctx, rules, AWQ__ALIKE_ABSORBED,
                                 "%s: stays as it is: engines multiply it into q and o when they "
                                 "load the model, and need its floats; a rule with projection: "
                                 "kv_b quantizes it all the same",
                                 module->name);
}

static bool projection_matches(const char *projections, awq__part part)
{
    static const struct {
        awq__part part;
        const char *names[2];
    } parts[] = {
        {AWQ__PART_GATE, {"gate", "gate_up"}},
        {AWQ__PART_UP, {"up", "gate_up"}},
        {AWQ__PART_DOWN, {"down", "down"}},
        {AWQ__PART_Q, {"q", "qkv"}},
        {AWQ__PART_K, {"k", "qkv"}},
        {AWQ__PART_V, {"v", "qkv"}},
        {AWQ__PART_Q_A, {"q_a", "q_a"}},
        {AWQ__PART_Q_B, {"q_b", "q_b"}},
        {AWQ__PART_KV_A, {"kv_a", "kv_a"}},
        {AWQ__PART_KV_B, {"kv_b", "kv_b"}},
        {AWQ__PART_O, {"o", "o"}},
        {AWQ__PART_DELTA_QKV, {"qkv", "qkv"}},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].part == part)
            return awq__value_lists(projections, parts[i].names[0]) ||
                   awq__value_lists(projections, parts[i].names[1]);
    return false;
}

static awq_status rule_matches(awq_context *ctx, const awq__arch *arch, const rule *r,
                               const awq__module *module, bool *matches)
{
    int64_t layers = arch->model.layer_count;
    *matches = false;
    if (r->role && !awq__value_lists(r->role, awq_role_name(module->role)))
        return AWQ_OK;
    if (r->layers && (module->layer < 0 || !awq__index_set_has(r->layers, module->layer, layers)))
        return AWQ_OK;
    if (r->experts && (module->role != AWQ_ROLE_EXPERT ||
                       !awq__index_set_has(r->experts, module->expert,
                                           arch->layers[module->layer].experts.count)))
        return AWQ_OK;
    if (r->projection && !projection_matches(r->projection, module->part))
        return AWQ_OK;
    *matches = true;
    return r->has_pattern ? names_module(ctx, arch, &r->pattern, module, matches) : AWQ_OK;
}

#define RULE_NAME_BYTES 256

/* "rules[2] (role: router, layers: 0-3)", for messages. */
static void name_rule(const awq_recipe *recipe, size_t index, char *text, size_t size)
{
    const awq_option *treatment = awq_rule_option_find("keep"); /* selectors are before it */
    int at = snprintf(text, size, "rules[%zu]", index + 1);
    const char *lead = " (";
    for (const awq_option *o = awq_rule_option_list(NULL); o < treatment; o++) {
        const char *value = awq_recipe_rule_get(recipe, index, o->name);
        if (!value || (size_t)at >= size)
            continue;
        at += snprintf(text + at, size - (size_t)at, "%s%s: %s", lead, o->name, value);
        lead = ", ";
    }
    if (lead[0] == ',' && (size_t)at < size)
        snprintf(text + at, size - (size_t)at, ")");
}

/* A rule that keeps modules says nothing of how to quantize them. */
static awq_status check_keep(awq_context *ctx, const awq_recipe *recipe, size_t index,
                             const char *name)
{
    size_t count;
    const awq_option *options = awq_rule_option_list(&count);
    for (const awq_option *o = awq_rule_option_find("keep") + 1; o < options + count; o++)
        if (awq_recipe_rule_get(recipe, index, o->name))
            return awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "%s: says keep: true and %s, of which only one can be", name, o->name);
    return AWQ_OK;
}

/* One that cannot be read is a fault of the recipe. */
static awq_status make_pattern(awq_context *ctx, const char *name, const char *text,
                               awq__name_pattern *pattern)
{
    awq_status status = awq__name_pattern_create(ctx, name, text, AWQ__NAME_GLOB, pattern);
    return status == AWQ_ERROR_FORMAT ? AWQ_ERROR_RECIPE : status;
}

static awq_status make_rule(awq_context *ctx, const awq_recipe *recipe,
                            const awq__settings *settings, size_t index,
                            awq__rule_defaults defaults, rule *r)
{
    char name[RULE_NAME_BYTES];
    const char *match = awq_recipe_rule_get(recipe, index, "match");
    const char *keep = awq_recipe_rule_get(recipe, index, "keep");
    name_rule(recipe, index, name, sizeof name);
    *r = (rule){.role = awq_recipe_rule_get(recipe, index, "role"),
                .layers = awq_recipe_rule_get(recipe, index, "layers"),
                .experts = awq_recipe_rule_get(recipe, index, "experts"),
                .projection = awq_recipe_rule_get(recipe, index, "projection"),
                .keep = keep && !strcmp(keep, "true")};
    if (!match && !r->role && !r->layers && !r->experts && !r->projection)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: selects no modules; it needs match, role, layers, experts or "
                         "projection",
                         name);
    if (r->keep)
        AWQ__CHECK(check_keep(ctx, recipe, index, name));
    if (match) {
        AWQ__CHECK(make_pattern(ctx, name, match, &r->pattern));
        r->has_pattern = true;
    }
    if (!r->keep) {
        awq__settings own;
        awq__settings_of_rule(recipe, settings, index, &own);
        r->treatment = treatment_from(&own, defaults);
    }
    return AWQ_OK;
}

/* Would the rule do something, were there no earlier ones? */
static awq_status is_shadowed(awq_context *ctx, const awq__rules *rules, const awq__arch *arch,
                              const rule *r, bool *shadowed)
{
    *shadowed = false;
    for (size_t i = 0; i < arch->module_count && !*shadowed; i++) {
        const awq__module *module = &arch->modules[i];
        if (!r->keep && !may_quantize(rules, module->role))
            continue;
        AWQ__CHECK(rule_matches(ctx, arch, r, module, shadowed));
    }
    return AWQ_OK;
}

/* Of a rule that has treated nothing. */
static awq_status judge_unused(awq_context *ctx, const awq__arch *arch, const rule *r,
                               const char *name, awq__rules *rules)
{
    bool shadowed;
    AWQ__CHECK(is_shadowed(ctx, rules, arch, r, &shadowed));
    if (shadowed)
        return awq__rules_warn_alike(
            ctx, rules, AWQ__ALIKE_SHADOWED,
            "%s: has no effect, because earlier rules treat all that it matches", name);
    const awq__module *refused = r->matched.refused;
    if (refused)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: matches only what is never quantized: %s (%s); keep: true says that "
                         "it stays as it is",
                         name, refused->name, awq_role_name(refused->role));
    char what[RULE_NAME_BYTES + 1];
    snprintf(what, sizeof what, "%s:", name);
    return nothing_matches(ctx, arch, rules, what);
}

static awq_status judge_rule(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                             size_t index, const rule *r, awq__rules *rules)
{
    char name[RULE_NAME_BYTES];
    name_rule(recipe, index, name, sizeof name);
    if (r->keep && (r->matched.treated || r->matched.refused))
        return AWQ_OK;
    if (!r->matched.treated)
        return judge_unused(ctx, arch, r, name, rules);
    if (r->matched.refused && is_router(r->matched.refused))
        return awq__rules_warn_alike(ctx, rules, AWQ__ALIKE_ROUTERS,
                                     "%s: matches routers, as %s, which stay as they are", name,
                                     r->matched.refused->name);
    return AWQ_OK;
}

/* The first rule that matches the module treats it; *treated false if none does. */
static awq_status apply_rules(awq_context *ctx, const awq__arch *arch, rule *list, size_t count,
                              size_t index, awq__rules *rules, bool *treated)
{
    const awq__module *module = &arch->modules[index];
    *treated = false;
    for (size_t i = 0; i < count && !*treated; i++) {
        AWQ__CHECK(rule_matches(ctx, arch, &list[i], module, treated));
        if (!*treated)
            continue;
        count_match(rules, module, &list[i].matched);
        bool quantize = !list[i].keep && may_quantize(rules, module->role);
        if (quantize && stays_by_default(module, list[i].projection,
                                         list[i].has_pattern ? list[i].pattern.text : NULL)) {
            AWQ__CHECK(tell_absorbed(ctx, rules, module));
            quantize = false;
        }
        return awq__rules_treat(ctx, rules, index, quantize ? &list[i].treatment : NULL);
    }
    return AWQ_OK;
}

/* ---- quantize.modules ---- */

typedef struct pattern_list {
    awq__name_pattern *items;
    matched *matched;
    size_t count;
} pattern_list;

static void free_patterns(pattern_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        awq__name_pattern_free(&list->items[i]);
    awq__free(list->items);
    awq__free(list->matched);
    *list = (pattern_list){0};
}

static awq_status make_patterns(awq_context *ctx, const awq__texts *texts, pattern_list *list)
{
    size_t count = texts->count;
    *list = (pattern_list){0};
    list->items = awq__alloc(ctx, count, sizeof *list->items, "patterns");
    list->matched = awq__alloc(ctx, count, sizeof *list->matched, "patterns");
    awq_status status;
    AWQ__TRY_ALLOC(list->items && list->matched);
    for (size_t i = 0; i < count; i++) {
        AWQ__TRY(make_pattern(ctx, "quantize.modules", texts->items[i], &list->items[i]));
        list->count++;
    }
done:
    if (status != AWQ_OK)
        free_patterns(list);
    return status;
}

/* `ruled`: a rule has treated the module already. */
static awq_status apply_patterns(awq_context *ctx, const awq__arch *arch, pattern_list *list,
                                 size_t index, const awq__treatment *treatment, bool ruled,
                                 awq__rules *rules)
{
    const awq__module *module = &arch->modules[index];
    for (size_t i = 0; i < list->count; i++) {
        bool matches;
        AWQ__CHECK(names_module(ctx, arch, &list->items[i], module, &matches));
        if (matches) {
            count_match(rules, module, &list->matched[i]);
            awq__treatment own = *treatment;
            own.automatic &= module->role == AWQ_ROLE_EXPERT;
            bool quantize = !ruled && may_quantize(rules, module->role);
            if (quantize && stays_by_default(module, NULL, list->items[i].text))
                AWQ__CHECK(tell_absorbed(ctx, rules, module));
            else if (quantize)
                AWQ__CHECK(awq__rules_treat(ctx, rules, index, &own));
        }
    }
    return AWQ_OK;
}

static awq_status judge_patterns(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                                 const pattern_list *list, awq__rules *rules)
{
    for (size_t i = 0; i < list->count; i++) {
        const matched *m = &list->matched[i];
        const char *text = list->items[i].text;
        char what[256];
        if (m->treated)
            continue;
        if (m->refused)
            return awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "quantize.modules: \"%s\" matches only what is never quantized: %s "
                             "(%s)",
                             text, m->refused->name, awq_role_name(m->refused->role));
        /* The default is for recipes that say nothing; rules may say it all. */
        if (!awq__recipe_says(recipe, "quantize.modules") && awq_recipe_rule_count(recipe))
            continue;
        snprintf(what, sizeof what, "quantize.modules: \"%s\"", text);
        AWQ__CHECK(nothing_matches(ctx, arch, rules, what));
    }
    return AWQ_OK;
}

/* ---- all of it ---- */

static awq_status nothing_left(awq_context *ctx, const awq__arch *arch,
                               const pattern_list *patterns, size_t rule_count)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (patterns->matched[i].treated)
            return awq__fail(
                ctx, AWQ_ERROR_RECIPE,
                "quantize.modules: rules keep all that \"%s\" matches, so that nothing "
                "would be quantized",
                patterns->items[i].text);
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "quantize.modules: no pattern%s matches a module that can be quantized; names "
                     "look like %s",
                     rule_count ? " and no rule" : "",
                     arch->modules[awq__arch_index(arch, 0, AWQ__PART_GATE, 0)].name);
}

static awq_status apply(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                        const awq__treatment *general, rule *list, pattern_list *patterns,
                        awq__rules *rules)
{
    size_t count = awq_recipe_rule_count(recipe), treated = 0;
    for (size_t i = 0; i < arch->module_count; i++) {
        bool ruled;
        AWQ__CHECK(apply_rules(ctx, arch, list, count, i, rules, &ruled));
        AWQ__CHECK(apply_patterns(ctx, arch, patterns, i, general, ruled, rules));
        treated += rules->of[i] != NULL;
    }
    for (size_t i = 0; i < count; i++)
        AWQ__CHECK(judge_rule(ctx, recipe, arch, i, &list[i], rules));
    AWQ__CHECK(judge_patterns(ctx, recipe, arch, patterns, rules));
    return treated ? AWQ_OK : nothing_left(ctx, arch, patterns, count);
}

awq_status awq__rules_create(awq_context *ctx, const awq_recipe *recipe,
                             const awq__settings *settings, const awq__arch *arch,
                             awq__rule_defaults defaults, awq__rules *rules)
{
    size_t count = awq_recipe_rule_count(recipe);
    awq__treatment general = treatment_from(settings, defaults);
    general.automatic = settings->has_target;
    pattern_list patterns = {0};
    *rules = (awq__rules){.ends = settings->stores_ends};
    rules->of = awq__alloc(ctx, arch->module_count, sizeof *rules->of, "the treatment of modules");
    rule *list = awq__alloc(ctx, count, sizeof *list, "rules");
    awq_status status;
    AWQ__TRY_ALLOC(rules->of && list);
    for (size_t i = 0; i < count; i++)
        AWQ__TRY(make_rule(ctx, recipe, settings, i, defaults, &list[i]));
    AWQ__TRY(make_patterns(ctx, &settings->quantize.modules, &patterns));
    AWQ__TRY(apply(ctx, recipe, arch, &general, list, &patterns, rules));
    awq__rules_update(rules, arch);
done:
    for (size_t i = 0; list && i < count; i++)
        awq__name_pattern_free(&list[i].pattern);
    awq__free(list);
    free_patterns(&patterns);
    if (status != AWQ_OK)
        awq__rules_free(rules);
    return status;
}

void awq__rules_free(awq__rules *rules)
{
    for (size_t i = 0; i < rules->warning_count; i++)
        awq__free(rules->warnings[i]);
    for (size_t i = 0; i < rules->treatment_count; i++)
        awq__free(rules->treatments[i]);
    awq__free(rules->warnings);
    awq__free(rules->treatments);
    awq__free(rules->of);
    *rules = (awq__rules){0};
}
