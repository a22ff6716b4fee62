// PCD 0.7 (https://pointclouds.org/documentation/tutorials/pcd_file_format.html): a header in lines, then the points as
// text, as rows, or field by field and compressed with LZF.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "cloud_file.h"
#include "error.h"

namespace perception::runtime {

namespace {

constexpr std::size_t MAX_FIELDS = 64, MAX_VALUES = 4096;

[[noreturn]] void damaged(const char* why) { fail(PERCEPTION_ERROR_POINTS, "a PCD file is damaged: ", why); }

struct Field {
    std::string_view name;
    std::size_t size = 4;   // bytes of one value
    char type = 'F';        // F float, I signed, U unsigned
    std::size_t count = 1;  // values per point
};

struct Header {
    std::vector<Field> fields;
    std::int64_t points = -1;
    std::string_view data;  // ascii, binary or binary_compressed

    std::size_t row_bytes() const {
        std::size_t bytes = 0;
        for (const Field& field : fields) bytes += field.size * field.count;
        return bytes;
    }
};

// Cuts the next word off the front of `text`, or the next line.
std::string_view next_word(std::string_view& text) {
    constexpr std::string_view SPACE = " \t\r\n\v\f";
    text.remove_prefix(std::min(text.find_first_not_of(SPACE), text.size()));
    const std::string_view word = text.substr(0, text.find_first_of(SPACE));
    text.remove_prefix(word.size());
    return word;
}

std::string_view next_line(std::string_view& text) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    return line;
}

template <typename Number>
std::optional<Number> parse(std::string_view word) {
    Number value{};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
    return value;
}

std::int64_t whole(std::string_view word, std::int64_t most, const char* why) {
    const std::optional<std::int64_t> value = parse<std::int64_t>(word);
    if (!value || *value < 0 || *value > most) damaged(why);
    return *value;
}

// Applies `set` to each field with its word of the line.
template <typename Set>
void for_each_field(Header& header, std::string_view line, const Set& set) {
    for (Field& field : header.fields) {
        const std::string_view word = next_word(line);
        if (word.empty()) damaged("a line of its header has fewer entries than FIELDS");
        set(field, word);
    }
}

Header read_header(std::string_view& text) {
    Header header;
    std::int64_t width = -1, height = 1;
    while (header.data.empty()) {
        if (text.empty()) damaged("its header has no DATA line");
        std::string_view line = next_line(text);
        const std::string_view key = next_word(line);
        if (key == "FIELDS") {
            if (!header.fields.empty()) damaged("FIELDS comes twice");
            for (std::string_view name = next_word(line); !name.empty(); name = next_word(line)) {
                if (header.fields.size() == MAX_FIELDS) damaged("it has too many fields");
                header.fields.push_back({name});
            }
        } else if (key == "SIZE") {
            for_each_field(header, line, [](Field& field, std::string_view word) {
                field.size = static_cast<std::size_t>(whole(word, 8, "a SIZE is not 1, 2, 4 or 8"));
            });
        } else if (key == "TYPE") {
            for_each_field(header, line, [](Field& field, std::string_view word) {
                if (word.size() != 1) damaged("a TYPE is not F, I or U");
                field.type = word[0];
            });
        } else if (key == "COUNT") {
            for_each_field(header, line, [](Field& field, std::string_view word) {
                field.count = static_cast<std::size_t>(whole(word, MAX_VALUES, "a COUNT is out of reason"));
            });
        } else if (key == "WIDTH") {
            width = whole(next_word(line), INT32_MAX, "WIDTH is not a number");
        } else if (key == "HEIGHT") {
            height = whole(next_word(line), INT32_MAX, "HEIGHT is not a number");
        } else if (key == "POINTS") {
            header.points = whole(next_word(line), INT64_C(1) << 62, "POINTS is not a number");
        } else if (key == "DATA") {
            header.data = next_word(line);
            if (header.data.empty()) damaged("DATA says nothing");
        }
    }
    if (header.points < 0) header.points = width < 0 ? -1 : width * height;
    if (header.points < 0) damaged("its header has neither POINTS nor WIDTH");
    for (const Field& field : header.fields) {
        const bool floating = field.type == 'F' && (field.size == 4 || field.size == 8);
        const bool integer = (field.type == 'I' || field.type == 'U') &&
                             (field.size == 1 || field.size == 2 || field.size == 4 || field.size == 8);
        if (!floating && !integer) damaged("a field's SIZE and TYPE do not go together");
    }
    return header;
}

template <typename T>
float as_float(const std::byte* data) {
    T value;
    std::memcpy(&value, data, sizeof(T));
    return static_cast<float>(value);
}

float decode(const Field& field, const std::byte* data) {
    if (field.type == 'F') return field.size == 4 ? as_float<float>(data) : as_float<double>(data);
    const bool is_signed = field.type == 'I';
    switch (field.size) {
        case 1: return is_signed ? as_float<std::int8_t>(data) : as_float<std::uint8_t>(data);
        case 2: return is_signed ? as_float<std::int16_t>(data) : as_float<std::uint16_t>(data);
        case 4: return is_signed ? as_float<std::int32_t>(data) : as_float<std::uint32_t>(data);
        default: return is_signed ? as_float<std::int64_t>(data) : as_float<std::uint64_t>(data);
    }
}

// Index among the fields of x, y, z and intensity; -1 for an intensity that is not there.
std::array<int, CLOUD_FEATURES> columns_of(const Header& header) {
    constexpr std::array<std::string_view, CLOUD_FEATURES> NAMES{"x", "y", "z", "intensity"};
    std::array<int, CLOUD_FEATURES> columns{};
    for (std::size_t i = 0; i < NAMES.size(); ++i) {
        const auto found = std::find_if(header.fields.begin(), header.fields.end(),
                                        [&](const Field& field) { return field.name == NAMES[i] && field.count == 1; });
        columns[i] = found == header.fields.end() ? -1 : static_cast<int>(found - header.fields.begin());
        if (columns[i] < 0 && i < 3) damaged("it has no field x, y or z");
    }
    return columns;
}

void read_ascii(std::string_view text, const Header& header, float* out) {
    const std::array<int, CLOUD_FEATURES> columns = columns_of(header);
    for (std::int64_t point = 0; point < header.points; ++point, out += CLOUD_FEATURES) {
        out[3] = 0.0f;
        for (std::size_t f = 0; f < header.fields.size(); ++f) {
            for (std::size_t i = 0; i < header.fields[f].count; ++i) {
                const std::string_view word = next_word(text);
                const auto wanted = std::find(columns.begin(), columns.end(), static_cast<int>(f));
                if (word.empty()) damaged("it ends before its last point");
                if (wanted == columns.end()) continue;
                const std::optional<double> value = parse<double>(word);
                if (!value) damaged("a coordinate is not a number");
                out[wanted - columns.begin()] = static_cast<float>(*value);
            }
        }
    }
}

// Values of one field lie `stride` bytes apart, from `offset(field)` on.
template <typename Offset>
void read_fields(const std::byte* data, const Header& header, std::size_t row_stride, const Offset& offset,
                 float* out) {
    const std::array<int, CLOUD_FEATURES> columns = columns_of(header);
    for (int i = 0; i < CLOUD_FEATURES; ++i) {
        if (columns[i] < 0) {
            for (std::int64_t point = 0; point < header.points; ++point) out[point * CLOUD_FEATURES + i] = 0.0f;
            continue;
        }
        const Field& field = header.fields[static_cast<std::size_t>(columns[i])];
        const std::byte* value = data + offset(static_cast<std::size_t>(columns[i]));
        const std::size_t stride = row_stride != 0 ? row_stride : field.size;
        for (std::int64_t point = 0; point < header.points; ++point, value += stride) {
            out[point * CLOUD_FEATURES + i] = decode(field, value);
        }
    }
}

// LZF (liblzf): a byte below 32 starts that many plus one literal bytes; any other a copy of earlier output.
void decompress_lzf(Bytes in, std::vector<std::byte>& out) {
    std::size_t from = 0, to = 0;
    const auto next = [&] {
        if (from >= in.size()) damaged("its compressed data ends early");
        return static_cast<std::size_t>(in[from++]);
    };
    while (from < in.size()) {
        const std::size_t control = next();
        if (control < 32) {
            const std::size_t length = control + 1;
            if (length > in.size() - from || length > out.size() - to)
                damaged("its compressed data is longer than it says");
            std::memcpy(&out[to], &in[from], length);
            from += length, to += length;
            continue;
        }
        std::size_t length = control >> 5;
        if (length == 7) length += next();
        length += 2;
        const std::size_t distance = ((control & 31) << 8) + next() + 1;
        if (distance > to || length > out.size() - to) damaged("its compressed data points outside itself");
        // Byte by byte: source and target may overlap, which repeats a pattern.
        for (std::size_t i = 0; i < length; ++i, ++to) out[to] = out[to - distance];
    }
    if (to != out.size()) damaged("its compressed data is shorter than it says");
}

void read_compressed(Bytes body, const Header& header, float* out) {
    std::array<std::uint32_t, 2> sizes{};  // compressed, uncompressed
    if (body.size() < sizeof(sizes)) damaged("it ends before its compressed data");
    std::memcpy(sizes.data(), body.data(), sizeof(sizes));
    const std::size_t expected = header.row_bytes() * static_cast<std::size_t>(header.points);
    if (sizes[1] != expected) damaged("its compressed data is not as long as its header says");
    if (sizes[0] > body.size() - sizeof(sizes)) damaged("it ends before its last point");
    // Three bytes of LZF give 264 at the most.
    if (expected / 88 > sizes[0]) damaged("its compressed data is shorter than it says");
    std::vector<std::byte> data(expected);
    decompress_lzf(body.subspan(sizeof(sizes), sizes[0]), data);
    const auto offset = [&](std::size_t wanted) {
        std::size_t bytes = 0;
        for (std::size_t f = 0; f < wanted; ++f) bytes += header.fields[f].size * header.fields[f].count;
        return bytes * static_cast<std::size_t>(header.points);
    };
    read_fields(data.data(), header, 0, offset, out);
}

void read_binary(Bytes body, const Header& header, float* out) {
    const std::size_t row = header.row_bytes();
    if (body.size() / row < static_cast<std::size_t>(header.points)) damaged("it ends before its last point");
    const auto offset = [&](std::size_t wanted) {
        std::size_t bytes = 0;
        for (std::size_t f = 0; f < wanted; ++f) bytes += header.fields[f].size * header.fields[f].count;
        return bytes;
    };
    read_fields(body.data(), header, row, offset, out);
}

}  // namespace

std::int64_t read_pcd(Bytes file, std::int64_t most, std::vector<float>& points) {
    std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    const Header header = read_header(text);
    check_count(header.points, most);
    // Every point takes two bytes at the least, as text, or its row: what a header claims is not worth memory yet.
    columns_of(header);
    if (header.data != "binary_compressed" && static_cast<std::size_t>(header.points) > text.size() / 2) {
        damaged("it ends before its last point");
    }
    const std::size_t first = points.size();
    points.resize(first + static_cast<std::size_t>(header.points) * CLOUD_FEATURES);
    const Bytes body = file.subspan(file.size() - text.size());
    if (header.data == "ascii") {
        read_ascii(text, header, points.data() + first);
    } else if (header.data == "binary") {
        read_binary(body, header, points.data() + first);
    } else if (header.data == "binary_compressed") {
        read_compressed(body, header, points.data() + first);
    } else {
        damaged("its DATA is not ascii, binary or binary_compressed");
    }
    check_finite(points, first);
    return header.points;
}

}  // namespace perception::runtime
