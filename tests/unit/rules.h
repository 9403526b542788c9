/* Rules and options as pairs of texts, for tests. */
#ifndef RULES_H
#define RULES_H

#include "context.h"
#include "plan/rules.h"

/* Pairs of name and value, ended by NULL. */
#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline void add_rule(awq_context *ctx, awq_recipe *recipe, const char *const *pairs)
{
    size_t rule = awq_recipe_rule_count(recipe);
    succeeds(ctx, awq_recipe_add_rule(recipe));
    for (; *pairs; pairs += 2)
        succeeds(ctx, awq_recipe_rule_set(recipe, rule, pairs[0], pairs[1]));
}

static inline void set_options(awq_context *ctx, awq_recipe *recipe, const char *const *pairs)
{
    for (; *pairs; pairs += 2)
        succeeds(ctx, awq_recipe_set(recipe, pairs[0], pairs[1], NULL));
}

static inline awq_status create_rules(awq_context *ctx, const awq_recipe *recipe,
                                      const awq__arch *arch, awq__rule_defaults defaults,
                                      awq__rules *rules)
{
    awq__settings settings;
    awq__settings_read(recipe, &settings);
    return awq__rules_create(ctx, recipe, &settings, arch, defaults, rules);
}

#endif
