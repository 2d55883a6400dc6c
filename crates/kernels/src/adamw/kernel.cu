// Adam with decoupled weight decay, or with L2 regularisation, over a whole flat bucket. The numbers of the step lie in memory, so that
// a captured step may change them: hyper is [lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2, gradScale, decoupled].
// model, the weights rounded to the element type, may be null.
KERNEL adamw(u64 length, const float* hyper, const float* g, float* p, float* m, float* v, Stored* model) {
  Own own = own_elements(length);
  float lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], decay = hyper[4], scale = hyper[7];
  bool is_decoupled = hyper[8] != 0.0f;
  float rate = lr / hyper[5], root = sqrtf(hyper[6]), rest1 = 1.0f - beta1, rest2 = 1.0f - beta2, kept = 1.0f - lr * decay;
  float grads[WIDTH], weights[WIDTH], first[WIDTH], second[WIDTH];
  load(g + own.first, own.count, grads);
  load(p + own.first, own.count, weights);
  load(m + own.first, own.count, first);
  load(v + own.first, own.count, second);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
    float grad = grads[i] * scale, weight = weights[i];
    if (is_decoupled) weight *= kept;
    else grad = madd(decay, weight, grad);
    first[i] = madd(beta1, first[i], rest1 * grad);
    second[i] = madd(beta2, second[i], rest2 * grad * grad);
    weights[i] = weight - rate * (first[i] / (sqrtf(second[i]) / root + eps));
  }
  store(p + own.first, own.count, weights);
  store(m + own.first, own.count, first);
  store(v + own.first, own.count, second);
  if (model != 0) store(model + own.first, own.count, weights);
}
