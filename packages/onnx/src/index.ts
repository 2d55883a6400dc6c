/**
 * ONNX export.
 * @module @megatron-ts/onnx
 */
export { exportOnnx } from './export-onnx.ts';
export type { ExportableModel, ExportOnnxOptions } from './export-onnx.ts';
