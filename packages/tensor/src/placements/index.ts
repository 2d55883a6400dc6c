export { checkContribution, placeGradient } from './gradients.ts';
export { placeCollective, type PlacedCollective } from './collectives.ts';
export { attendedLayout, attentionGradient } from './attend.ts';
export { combined, isPartial, refusePartial } from './combine.ts';
export { contracted } from './contract.ts';
export { declarePlacement, placeDeclared } from './declared.ts';
export {
  type AxisPlacement,
  described,
  everywhere,
  layoutOf,
  misplaced,
  place,
  placed,
  type Placed,
  placedIf,
  samePlacement,
  zeroLayout,
} from './mesh-layout.ts';
export { amongZeros, moved, overRows, reduced, reshaped } from './moved.ts';
export { logitsGradient, lossPlaced, rowStatistic } from './loss.ts';
