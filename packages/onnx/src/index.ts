/**
 * ONNX export.
 * @module @megatron-ts/onnx
 */
export { exportOnnx } from './export-onnx.ts';
export type { ExportOnnxOptions } from './export-onnx.ts';
