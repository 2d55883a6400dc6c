// y[i] = f(x[i]) and its derivative; the table of codes stands in crates/kernels/src/unary/mod.rs.

// g times the derivative of the exact GELU at x.
DEVICE float gelu_erf_backward(float x, float g) {
  Normal normal = normal_of(x);
  return g * madd(x, normal.bell * 0.3989422804014327f, normal.below);
}

DEVICE float forward(u32 code, float x) {
  switch (code) {
    case 0: return -1.0f * x;
    case 1: return exp_of(x);
    case 2: return ln_of(x);
    case 3: return sqrtf(x);
    case 4: return tanh_of(x);
    case 5: return sigmoid_of(x);
    case 6: return fabsf(x);
    // NaN stays NaN.
    case 7: return x < 0.0f ? 0.0f : x;
    case 8: return gelu_of(x);
    case 9: return x * normal_of(x).below;
    case 10: return x * x;
    case 11: return 1.0f / x;
    default: return silu_of(x);
  }
}

// `s` is what the forward saved, x or y; `g` the gradient of the result.
DEVICE float backward(u32 code, float s, float g) {
  switch (code) {
    case 0: return -1.0f * g;
    case 1: return g * s;
    case 2: return g / s;
    case 3: return g / (s + s);
    case 4: return g * madd(-s, s, 1.0f);
    case 5: return g * (s * (1.0f - s));
    case 6: return s > 0.0f ? g : s < 0.0f ? -g : 0.0f;
    case 7: return s <= 0.0f ? 0.0f : g;
    case 8: return gelu_backward(s, g);
    case 9: return gelu_erf_backward(s, g);
    case 10: return g * (s + s);
    case 11: return -g * (s * s);
    default: return silu_backward(s, g);
  }
}

KERNEL unary(u64 length, u32 code, const Stored* x, Stored* y) {
  Own own = own_elements(length);
  float values[WIDTH];
  load(x + own.first, own.count, values);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = forward(code, values[i]);
  store(y + own.first, own.count, values);
}

KERNEL unary_backward(u64 length, u32 code, const Stored* saved, const Stored* grad, Stored* out) {
  Own own = own_elements(length);
  float s[WIDTH], g[WIDTH];
  load(saved + own.first, own.count, s);
  load(grad + own.first, own.count, g);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) g[i] = backward(code, s[i], g[i]);
  store(out + own.first, own.count, g);
}
