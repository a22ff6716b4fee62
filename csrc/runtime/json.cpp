#include "json.h"

#include <cmath>

namespace perception::runtime {

Json parse_object(std::string_view text, const Where& where) {
    Json value = Json::parse(text, nullptr, false);
    if (value.is_discarded()) fail(where.code, where.name, " is not valid JSON");
    if (!value.is_object()) fail(where.code, where.name, " is not a JSON object");
    return value;
}

const Json& member(const Json& object, const char* key, const Where& where) {
    const auto found = object.find(key);
    if (found == object.end()) fail(where.code, where.name, " has no '", key, "'");
    return *found;
}

const Json& object_member(const Json& object, const char* key, const Where& where) {
    const Json& value = member(object, key, where);
    if (!value.is_object()) fail(where.code, where.name, ": '", key, "' is not an object");
    return value;
}

std::string string_member(const Json& object, const char* key, const Where& where) {
    const Json& value = member(object, key, where);
    if (!value.is_string()) fail(where.code, where.name, ": '", key, "' is not a string");
    return value.get<std::string>();
}

double number_member(const Json& object, const char* key, const Where& where) {
    const Json& value = member(object, key, where);
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
        fail(where.code, where.name, ": '", key, "' is not a finite number");
    }
    return value.get<double>();
}

std::int64_t integer_member(const Json& object, const char* key, const Where& where, std::int64_t least,
                            std::int64_t most) {
    const Json& value = member(object, key, where);
    const double number = value.is_number() ? value.get<double>() : NAN;
    // Compared as a double: 1e300 and a 64-bit unsigned number must not wrap around.
    if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most)) ||
        number != std::floor(number)) {
        fail(where.code, where.name, ": '", key, "' is not a whole number from ", least, " to ", most);
    }
    return static_cast<std::int64_t>(number);
}

void read_matrix(const Json& rows, int size, double* out, const Where& where) {
    const auto refuse = [&] {
        fail(where.code, where.name, " is not a ", size, "x", size, " matrix of finite numbers");
    };
    if (!rows.is_array() || rows.size() != static_cast<std::size_t>(size)) refuse();
    for (const Json& row : rows) {
        if (!row.is_array() || row.size() != static_cast<std::size_t>(size)) refuse();
        for (const Json& value : row) {
            if (!value.is_number() || !std::isfinite(value.get<double>())) refuse();
            *out++ = value.get<double>();
        }
    }
}

}  // namespace perception::runtime
