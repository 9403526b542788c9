/* The gated delta rule (Yang, Kautz, Hatamizadeh, arXiv 2412.06464) of one head. */
#include "compute/cpu.h"

#include <string.h>

/* Tokens that are worked on together. */
#define CHUNK 64

int64_t awq__delta_rule_work(int64_t K, int64_t V)
{
    return K * V + CHUNK * (3 * CHUNK + V + 2);
}

/* ---- the definition: token by token ---- */

/* d[V] = beta (v - S^T k) */
static void read_state(int64_t K, int64_t V, const float *state, const float *k, const float *v,
                       float beta, float *d)
{
    for (int64_t i = 0; i < V; i++) {
        double sum = 0;
        for (int64_t j = 0; j < K; j++)
            sum += (double)state[j * V + i] * (double)k[j];
        d[i] = (float)((double)beta * ((double)v[i] - sum));
    }
}

void awq__reference_delta_rule(int64_t T, int64_t K, int64_t V, const float *q, const float *k,
                               const float *v, int64_t ld, const float *decay, const float *beta,
                               float *work, float *out, int64_t ldo)
{
    float *state = work, *d = work + K * V;
    memset(state, 0, (size_t)(K * V) * sizeof *state);
    for (int64_t t = 0; t < T; t++) {
        float factor = expf(decay[t]);
        for (int64_t i = 0; i < K * V; i++)
            state[i] *= factor;
        read_state(K, V, state, k + t * ld, v + t * ld, beta[t], d);
        for (int64_t i = 0; i < K * V; i++)
            state[i] += k[t * ld + i / V] * d[i % V];
        for (int64_t i = 0; i < V; i++) {
            double sum = 0;
            for (int64_t j = 0; j < K; j++)
                sum += (double)state[j * V + i] * (double)q[t * ld + j];
            out[t * ldo + i] = (float)sum;
        }
    }
}

/* ---- in chunks ---- */

/*
 * Within a chunk, with e(i,j) the decay from token j to token i and e(i) that since the chunk's
 * begin, the rows d of what is added to the state S solve a triangular system:
 *   d_i = beta_i (v_i - e(i) S^T k_i - sum over j < i of e(i,j) (k_i . k_j) d_j)
 *   out_i = e(i) S^T q_i + sum over j <= i of e(i,j) (q_i . k_j) d_j
 */
typedef struct chunk {
    int64_t n, K, V, ld, ldo;
    const float *q, *k, *v, *beta;
    float *out;
    float *state;      /* [K,V] */
    float *between;    /* [n,n] e(i,j), 0 for j > i */
    float *a, *p;      /* [n,n] */
    float *d;          /* [n,V] */
    float *since, *to; /* [n] e(i), and the decay to the chunk's last token */
} chunk;

static void find_decays(const chunk *c, const float *decay)
{
    double sums[CHUNK], sum = 0;
    for (int64_t i = 0; i < c->n; i++)
        sums[i] = sum += (double)decay[i];
    for (int64_t i = 0; i < c->n; i++) {
        c->since[i] = expf((float)sums[i]);
        c->to[i] = expf((float)(sum - sums[i]));
        for (int64_t j = 0; j < c->n; j++)
            c->between[i * c->n + j] = j <= i ? expf((float)(sums[i] - sums[j])) : 0;
    }
}

/* Row i of x[n,V] becomes factor[i] times it. */
static void scale_rows(const chunk *c, const float *factor, float *x, int64_t ldx)
{
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t k = 0; k < c->V; k++)
            x[i * ldx + k] *= factor[i];
}

static void find_updates(const chunk *c)
{
    int64_t n = c->n, V = c->V;
    awq__blas_multiply_nn(n, V, c->K, c->k, c->ld, c->state, V, 0, c->d, V);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < V; k++)
            c->d[i * V + k] = c->beta[i] * (c->v[i * c->ld + k] - c->since[i] * c->d[i * V + k]);
    awq__blas_multiply_nt(n, n, c->K, c->k, c->ld, c->k, c->ld, 0, c->a, n);
    for (int64_t i = 1; i < n; i++) {
        for (int64_t j = 0; j < i; j++)
            c->a[i * n + j] *= -c->beta[i] * c->between[i * n + j];
        awq__blas_multiply_nn(1, V, i, c->a + i * n, n, c->d, V, 1, c->d + i * V, V);
    }
}

static void find_outputs(const chunk *c)
{
    int64_t n = c->n;
    awq__blas_multiply_nt(n, n, c->K, c->q, c->ld, c->k, c->ld, 0, c->p, n);
    for (int64_t i = 0; i < n * n; i++)
        c->p[i] *= c->between[i];
    awq__blas_multiply_nn(n, c->V, c->K, c->q, c->ld, c->state, c->V, 0, c->out, c->ldo);
    scale_rows(c, c->since, c->out, c->ldo);
    awq__blas_multiply_nn(n, c->V, n, c->p, n, c->d, c->V, 1, c->out, c->ldo);
}

static void update_state(const chunk *c)
{
    for (int64_t i = 0; i < c->K * c->V; i++)
        c->state[i] *= c->since[c->n - 1];
    scale_rows(c, c->to, c->d, c->V);
    awq__blas_multiply_tn(c->K, c->V, c->n, c->k, c->ld, c->d, c->V, 1, c->state, c->V);
}

void awq__chunked_delta_rule(int64_t T, int64_t K, int64_t V, const float *q, const float *k,
                             const float *v, int64_t ld, const float *decay, const float *beta,
                             float *work, float *out, int64_t ldo)
{
    chunk c = {.K = K, .V = V, .ld = ld, .ldo = ldo, .state = work};
    c.between = c.state + K * V;
    c.a = c.between + CHUNK * CHUNK;
    c.p = c.a + CHUNK * CHUNK;
    c.d = c.p + CHUNK * CHUNK;
    c.since = c.d + CHUNK * V;
    c.to = c.since + CHUNK;
    memset(c.state, 0, (size_t)(K * V) * sizeof *c.state);
    for (int64_t t = 0; t < T; t += CHUNK) {
        c.n = awq__min(CHUNK, T - t);
        c.q = q + t * ld;
        c.k = k + t * ld;
        c.v = v + t * ld;
        c.beta = beta + t;
        c.out = out + t * ldo;
        find_decays(&c, decay + t);
        find_updates(&c);
        find_outputs(&c);
        update_state(&c);
    }
}
