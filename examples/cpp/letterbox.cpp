#include <algorithm>
#include <cmath>

#include "detection.hpp"

namespace {

// Half to even, as Python and numpy round.
int rounded(double value) { return static_cast<int>(std::nearbyint(value)); }

// Bilinear, the centres of pixels at half; the edge is repeated outside. One output column or row.
struct Sample {
  int low, high;
  float weight;  // of high
};

std::vector<Sample> samples(int from, int to) {
  std::vector<Sample> all(to);
  const double step = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i) {
    const double at = std::clamp((i + 0.5) * step - 0.5, 0.0, from - 1.0);
    const int low = static_cast<int>(at);
    all[i] = {low, std::min(low + 1, from - 1), static_cast<float>(at - low)};
  }
  return all;
}

}  // namespace

std::vector<float> to_canvas(const Image& picture, int width, int height, Letterbox& where) {
  const double scale = std::min(static_cast<double>(width) / picture.width, static_cast<double>(height) / picture.height);
  const int fit_width = std::max(1, rounded(picture.width * scale));
  const int fit_height = std::max(1, rounded(picture.height * scale));
  where = {static_cast<float>(scale), (width - fit_width) / 2, (height - fit_height) / 2};

  std::vector<float> canvas(3u * width * height, 114.0f / 255.0f);
  const auto columns = samples(picture.width, fit_width), rows = samples(picture.height, fit_height);
  const auto pixel = [&](int row, int column, int channel) {
    return static_cast<float>(picture.rgb[(static_cast<std::size_t>(row) * picture.width + column) * 3 + channel]);
  };
  for (int channel = 0; channel < 3; ++channel)
    for (int y = 0; y < fit_height; ++y)
      for (int x = 0; x < fit_width; ++x) {
        const Sample &row = rows[y], &column = columns[x];
        const float above = pixel(row.low, column.low, channel) * (1 - column.weight) +
                            pixel(row.low, column.high, channel) * column.weight;
        const float below = pixel(row.high, column.low, channel) * (1 - column.weight) +
                            pixel(row.high, column.high, channel) * column.weight;
        // Training saw 8-bit pictures.
        const float value = std::floor(above * (1 - row.weight) + below * row.weight + 0.5f);
        canvas[(static_cast<std::size_t>(channel) * height + where.top + y) * width + where.left + x] = value / 255.0f;
      }
  return canvas;
}
