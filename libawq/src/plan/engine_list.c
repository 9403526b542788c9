/* The public list of what engines take. */
#include "plan/engines.h"

struct awq_engine_rule_list {
    awq_engine_rule *rules;
    size_t count; /* of those whose constraint is the list's own */
};

static awq_status add_row(awq_context *ctx, awq_engine_rule_list *list)
{
    awq__engine_row_text row;
    AWQ__CHECK(awq__engine_row_at(ctx, list->count, &row));
    list->rules[list->count++] = (awq_engine_rule){.engine = row.engine,
                                                   .versions = row.versions,
                                                   .formats = row.formats,
                                                   .constraint = row.constraint,
                                                   .level = row.level,
                                                   .source = row.source};
    return AWQ_OK;
}

awq_status awq_engine_rule_list_create(awq_context *ctx, awq_engine_rule_list **out)
{
    size_t count = awq__engine_row_count();
    if (out)
        *out = NULL;
    AWQ__CHECK(
        awq__enter(ctx, "awq_engine_rule_list_create", (awq__argument[]){{"out", out}, {0}}));
    awq_engine_rule_list *list = awq__alloc(ctx, 1, sizeof *list, "the list of engines");
    AWQ__CHECK_ALLOC(list);
    list->rules = awq__alloc(ctx, count, sizeof *list->rules, "the list of engines");
    awq_status status;
    AWQ__TRY_ALLOC(list->rules);
    while (list->count < count)
        AWQ__TRY(add_row(ctx, list));
    *out = list;
done:
    if (status != AWQ_OK)
        awq_engine_rule_list_free(list);
    return status;
}

void awq_engine_rule_list_free(awq_engine_rule_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++)
        awq__free((char *)(uintptr_t)list->rules[i].constraint);
    awq__free(list->rules);
    awq__free(list);
}

size_t awq_engine_rule_list_count(const awq_engine_rule_list *list)
{
    return list ? list->count : 0;
}

const awq_engine_rule *awq_engine_rule_list_at(const awq_engine_rule_list *list, size_t index)
{
    return list && index < list->count ? &list->rules[index] : NULL;
}
