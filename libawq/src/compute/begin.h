/* What every public function does before it computes. */
#ifndef AWQ__BEGIN_H
#define AWQ__BEGIN_H

#include "compute/compute.h"

/*
 * Sees to it that products will be right, fast and not in want of address space, or fails and says
 * what helps. Of a process the first call with a table takes some milliseconds, further ones
 * nothing.
 */
awq_status awq__compute_begin(awq_context *ctx);
/* The checks of the products of a table: AWQ_ERROR_UNSUPPORTED if one is wrong. */
awq_status awq__compute_check(awq_context *ctx, const awq__compute *compute);

#endif
