#include <algorithm>

#include "detection.hpp"

namespace {

float overlap(const Detection& a, const Detection& b) {
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (width <= 0 || height <= 0) return 0;
  const float both = width * height;
  return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both);
}

}  // namespace

std::vector<Detection> select(const float* boxes, const float* scores, std::size_t anchors, std::size_t classes,
                              const Letterbox& where, const Image& picture, float confidence, float iou, bool nms) {
  std::vector<Detection> found;
  for (std::size_t anchor = 0; anchor < anchors; ++anchor) {
    const float* own = scores + anchor * classes;
    const auto best = std::max_element(own, own + classes);
    if (!(*best > confidence)) continue;
    const float* box = boxes + anchor * 4;
    if (!(box[2] > box[0] && box[3] > box[1])) continue;
    found.push_back({box[0], box[1], box[2], box[3], *best, static_cast<int>(best - own)});
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  std::vector<Detection> kept;
  for (const Detection& one : found) {
    const bool suppressed = nms && std::any_of(kept.begin(), kept.end(), [&](const Detection& other) {
      return other.label == one.label && overlap(other, one) > iou;
    });
    if (!suppressed) kept.push_back(one);
  }
  for (Detection& one : kept) {
    const auto back = [&](float value, int offset, float scale, int limit) {
      return std::clamp((value - offset) / scale, 0.0f, static_cast<float>(limit));
    };
    one = {back(one.x1, where.left, where.scale_x, picture.width),
           back(one.y1, where.top, where.scale_y, picture.height),
           back(one.x2, where.left, where.scale_x, picture.width),
           back(one.y2, where.top, where.scale_y, picture.height), one.score, one.label};
  }
  return kept;
}
