// Chooses detections from a network's boxes and scores, as ghostyolo does in Python (runtime/postprocess.py).

// A detector reports few objects; so many of the best boxes are more than enough to find them.
const CANDIDATES = 5000;

/**
 * Keeps the best box of each object.
 *
 * Suppression leaves stronger boxes alone, so whoever wants a higher threshold can drop the weaker results later.
 *
 * @param {Float32Array} boxes - anchors x 4: corners in pixels of the canvas
 * @param {Float32Array} scores - anchors x classes, 0..1
 * @param {number} classes
 * @param {object} limits - confidence, iou, nms (false where the network finds each object once)
 * @returns {Array} {box, score, label}, the best first
 */
export function selectDetections(boxes, scores, classes, limits) {
  const candidates = [];
  for (let anchor = 0; anchor < scores.length / classes; anchor++) {
    let label = 0;
    let score = scores[anchor * classes];
    for (let one = 1; one < classes; one++) {
      if (scores[anchor * classes + one] > score) {
        label = one;
        score = scores[anchor * classes + one];
      }
    }
    if (score <= limits.confidence) continue;
    const box = Array.from(boxes.subarray(4 * anchor, 4 * anchor + 4));
    if (!Number.isFinite(score) || !box.every(Number.isFinite)) {
      throw new Error("The network's boxes or scores are no numbers: its file is damaged, or this browser's GPU cannot run it.");
    }
    if (box[2] > box[0] && box[3] > box[1]) candidates.push({ box, score, label });
  }
  candidates.sort((one, other) => other.score - one.score);
  return limits.nms ? suppress(candidates.slice(0, CANDIDATES), limits.iou) : candidates;
}

function suppress(candidates, iou) {
  const kept = [];
  const keptByLabel = new Map();
  for (const candidate of candidates) {
    const stronger = keptByLabel.get(candidate.label) ?? [];
    if (stronger.some((one) => overlapIsAbove(one.box, candidate.box, iou))) continue;
    kept.push(candidate);
    stronger.push(candidate);
    keptByLabel.set(candidate.label, stronger);
  }
  return kept;
}

function overlapIsAbove(one, other, iou) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return shared > (area(one) + area(other) - shared) * iou;
}
