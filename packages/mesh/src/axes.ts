/**
 * The axes along which work is divided, in the order in which ranks are numbered: tensor, context, expert, data, pipeline. The
 * leftmost axis varies fastest, so that ranks which talk most (tensor parallel) are neighbours on one host.
 * @source Megatron-LM, `parallel_state.py`, order "tp-cp-ep-dp-pp".
 */
export const meshAxes = ['tp', 'cp', 'ep', 'dp', 'pp'] as const;

/** One axis of the mesh. */
export type MeshAxis = (typeof meshAxes)[number];

/** Groups with a name of their own: those of one axis, and the combined ones. */
export type MeshGroupName = MeshAxis | 'dpCp' | 'expertDp' | 'modelParallel' | 'world';

/** The axes that each combined group spans. `expertDp` is the data axis of the expert grid, and is not found here. */
export const combinedAxes = {
  dpCp: ['dp', 'cp'],
  modelParallel: ['tp', 'pp'],
  world: ['tp', 'cp', 'dp', 'pp'],
} as const satisfies Record<string, readonly MeshAxis[]>;
