/* From a router's logits to experts and weights. */
#include "compute/cpu.h"
#include "awq/plugin.h"

#include <math.h>
#include <string.h>

/* ---- scores ---- */

/* The logits of one token, with what makes a softmax of them. */
typedef struct token_logits {
    const float *logits;
    double largest, total; /* total: of exp(logit - largest) over all experts */
} token_logits;

static token_logits read_logits(int64_t E, const awq__routing *routing, const float *logits)
{
    token_logits token = {.logits = logits, .largest = -INFINITY};
    for (int64_t e = 0; e < E; e++)
        token.largest = fmax(token.largest, (double)logits[e]);
    for (int64_t e = 0; e < E && routing->scoring == AWQ_SCORING_SOFTMAX_TOPK; e++)
        token.total += exp((double)logits[e] - token.largest);
    return token;
}

static double score_of(const awq__routing *routing, const token_logits *token, int64_t e)
{
    double logit = (double)token->logits[e];
    return routing->scoring == AWQ_SCORING_SIGMOID_TOPK
               ? 1 / (1 + exp(-logit))
               : exp(logit - token->largest) / token->total;
}

/* ---- choice ---- */

/* The k largest scores, falling; equal ones in the order of experts. */
static void top_k(int64_t E, int64_t k, const float *scores, int32_t *index)
{
    for (int64_t i = 0; i < k; i++) {
        int64_t best = -1;
        for (int64_t e = 0; e < E; e++) {
            bool taken = false;
            for (int64_t j = 0; j < i; j++)
                taken |= index[j] == e;
            if (!taken && (best < 0 || scores[e] > scores[best]))
                best = e;
        }
        index[i] = (int32_t)best;
    }
}

static float group_score(const awq__routing *routing, int64_t count, const float *choices)
{
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        second = choices[i] > first ? first : choices[i] > second ? choices[i] : second;
        first = choices[i] > first ? choices[i] : first;
    }
    return routing->group_score == AWQ_GROUP_TOP2_SUM && count > 1 ? first + second : first;
}

/* Experts of all but the best groups are chosen last of all. Returns by how much the last group
   that is kept is better than the first that is not. */
static float drop_groups(int64_t E, const awq__routing *routing, float *choices)
{
    float scores[AWQ__MOST_GROUPS];
    int32_t order[AWQ__MOST_GROUPS] = {0};
    int64_t groups = routing->groups, kept = routing->groups_kept, size = E / groups;
    for (int64_t g = 0; g < groups; g++)
        scores[g] = group_score(routing, size, choices + g * size);
    top_k(groups, awq__min(kept + 1, groups), scores, order);
    float margin = kept < groups ? scores[order[kept - 1]] - scores[order[kept]] : INFINITY;
    for (int64_t i = 0; i < kept; i++)
        scores[order[i]] = INFINITY;
    for (int64_t e = 0; e < E; e++)
        if (scores[e / size] < INFINITY)
            choices[e] = -INFINITY;
    return margin;
}

static bool is_corrected(const awq__routing *routing)
{
    return routing->correction || routing->groups;
}

/* What a token's experts are chosen by, [E]. Returns what drop_groups does. */
static float correct(int64_t E, const awq__routing *routing, const token_logits *token,
                     float *choices)
{
    for (int64_t e = 0; e < E; e++)
        choices[e] =
            (float)score_of(routing, token, e) + (routing->correction ? routing->correction[e] : 0);
    return routing->groups ? drop_groups(E, routing, choices) : INFINITY;
}

bool awq__route_near_tie(int64_t E, const awq__routing *routing, const float *logits, int64_t k,
                         const int32_t *chosen, double tolerance)
{
    float choices[AWQ__MOST_CORRECTED];
    const token_logits token = read_logits(E, routing, logits);
    const float *by = is_corrected(routing) ? choices : logits;
    double margin = is_corrected(routing) ? (double)correct(E, routing, &token, choices) : INFINITY;
    double last = INFINITY, next = -INFINITY, largest = 0;
    for (int64_t e = 0; e < E; e++) {
        bool in = false;
        for (int64_t i = 0; i < k; i++)
            in |= chosen[i] == e;
        largest = by[e] > -INFINITY ? fmax(largest, fabs((double)by[e])) : largest;
        if (in)
            last = fmin(last, (double)by[e]);
        else
            next = fmax(next, (double)by[e]);
    }
    return fmin(fabs(last - next), margin) <= tolerance * largest;
}

/* ---- both ---- */

/* Softmax over the k chosen. */
static void set_total(int64_t k, const int32_t *index, token_logits *token)
{
    for (int64_t i = 0; i < k; i++)
        token->total += exp((double)token->logits[index[i]] - token->largest);
}

static void weigh(int64_t k, const awq__routing *routing, const token_logits *token,
                  const int32_t *index, float *weight)
{
    double sum = 0;
    for (int64_t i = 0; i < k; i++) {
        double score = score_of(routing, token, index[i]);
        sum += score;
        weight[i] = (float)score;
    }
    double divisor = routing->renormalize ? fmax(sum, (double)routing->weight_floor) : 1;
    for (int64_t i = 0; i < k; i++) {
        double factor = (double)routing->scaling;
        if (routing->expert_scale)
            factor *= (double)routing->expert_scale[index[i]];
        weight[i] = (float)((double)weight[i] / divisor * factor);
    }
}

void awq__reference_route(int64_t T, int64_t E, int64_t k, const awq__routing *routing,
                          const float *logits, int32_t *index, float *weight)
{
    float choices[AWQ__MOST_CORRECTED];
    for (int64_t t = 0; t < T; t++) {
        token_logits token = read_logits(E, routing, logits + t * E);
        if (is_corrected(routing))
            correct(E, routing, &token, choices);
        /* Softmax and sigmoid keep the order: the logits choose where nothing corrects them. */
        top_k(E, k, is_corrected(routing) ? choices : token.logits, index + t * k);
        if (routing->scoring == AWQ_SCORING_TOPK_SOFTMAX)
            set_total(k, index + t * k, &token);
        weigh(k, routing, &token, index + t * k, weight + t * k);
    }
}
