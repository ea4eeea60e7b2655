#include <algorithm>
#include <cmath>

#include "detection.hpp"

namespace {

// Half to even, as Python and numpy round.
int rounded(double value) { return static_cast<int>(std::nearbyint(value)); }

// The pixels of one column or row of the picture that make one of the canvas: from `first`, weights that sum to 1.
struct Span {
  int first;
  std::vector<float> weights;
};

// Two neighbours; the centres of pixels are at half, the edge is repeated outside.
Span between(double begin, double end, int from) {
  const double at = std::clamp((begin + end) / 2 - 0.5, 0.0, from - 1.0);
  const int low = std::min(static_cast<int>(at), std::max(from - 2, 0));
  const float high = static_cast<float>(at - low);
  return from == 1 ? Span{0, {1.0f}} : Span{low, {1 - high, high}};
}

// All pixels from begin to end, each by the part of it that lies within.
Span within(double begin, double end, int from) {
  Span span{static_cast<int>(begin + 1e-6), {}};
  for (int pixel = span.first; pixel < from; ++pixel) {
    const double part = std::min(end, pixel + 1.0) - std::max(begin, static_cast<double>(pixel));
    if (part < 1e-6) break;
    span.weights.push_back(static_cast<float>(part / (end - begin)));
  }
  return span;
}

std::vector<Span> spans(int from, int to, bool area) {
  std::vector<Span> all;
  const double step = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i)
    all.push_back(area ? within(i * step, (i + 1) * step, from) : between(i * step, (i + 1) * step, from));
  return all;
}

}  // namespace

std::vector<float> to_canvas(const Image& picture, int width, int height, bool area, Letterbox& where) {
  const double scale = std::min(static_cast<double>(width) / picture.width, static_cast<double>(height) / picture.height);
  const int fit_width = std::max(1, rounded(picture.width * scale));
  const int fit_height = std::max(1, rounded(picture.height * scale));
  where = {static_cast<float>(fit_width) / picture.width, static_cast<float>(fit_height) / picture.height,
           (width - fit_width) / 2, (height - fit_height) / 2};

  std::vector<float> canvas(3u * width * height, 114.0f / 255.0f);
  area = area && scale < 1;  // a picture is always enlarged between neighbours
  const auto columns = spans(picture.width, fit_width, area), rows = spans(picture.height, fit_height, area);
  const auto pixel = [&](int row, int column, int channel) {
    return static_cast<float>(picture.rgb[(static_cast<std::size_t>(row) * picture.width + column) * 3 + channel]);
  };
  for (int channel = 0; channel < 3; ++channel)
    for (int y = 0; y < fit_height; ++y)
      for (int x = 0; x < fit_width; ++x) {
        float sum = 0;
        for (std::size_t i = 0; i < rows[y].weights.size(); ++i)
          for (std::size_t j = 0; j < columns[x].weights.size(); ++j)
            sum += rows[y].weights[i] * columns[x].weights[j] *
                   pixel(rows[y].first + static_cast<int>(i), columns[x].first + static_cast<int>(j), channel);
        // Training saw 8-bit pictures.
        const float value = std::floor(sum + 0.5f);
        canvas[(static_cast<std::size_t>(channel) * height + where.top + y) * width + where.left + x] = value / 255.0f;
      }
  return canvas;
}
