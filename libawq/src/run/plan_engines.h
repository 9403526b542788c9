/* What engines make of the result of a plan. */
#ifndef AWQ__PLAN_ENGINES_H
#define AWQ__PLAN_ENGINES_H

#include "plan/engines.h"
#include "write/model_plan.h"

/* Of the engine, or of any: see awq__engines_check. Free them with awq__findings_free. */
awq_status awq__model_plan_findings(awq_context *ctx, const awq__model_plan *plan,
                                    const char *engine, awq__findings *findings);

#endif
