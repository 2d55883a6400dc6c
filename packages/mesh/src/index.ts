/**
 * Which rank works with which: axes, coordinates and groups, and how batches and layers are divided. Pure.
 * @module @megatron-ts/mesh
 */
export { assignLayers, type LayerAssignment } from './assign-layers.ts';
export { type MeshAxis, type MeshGroupName, meshAxes } from './axes.ts';
export { createMesh } from './create-mesh.ts';
export type { MeshConfig } from './general-mesh.ts';
export { Mesh, type MeshCoordinates, type MeshSizes } from './mesh.ts';
export { type MicrobatchConfig, type MicrobatchPlan, microbatchPlan } from './microbatch-plan.ts';
