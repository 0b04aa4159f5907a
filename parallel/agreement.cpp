#include "parallel/agreement.h"

#include <new>

#include "parallel/messages.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// A letter for the kind, and the words.
std::string text_of(const std::exception_ptr& met) {
  if (!met) return "";
  try {
    std::rethrow_exception(met);
  } catch (const ShapeError& error) {
    return concat('s', error.what());
  } catch (const ConfigError& error) {
    return concat('c', error.what());
  } catch (const DataError& error) {
    return concat('f', error.what());
  } catch (const DeviceError& error) {
    return concat('m', error.what());
  } catch (const std::bad_alloc&) {
    return "mnot enough memory; make the batch or the fields smaller";
  } catch (const std::exception& error) {
    return concat('e', error.what());
  } catch (...) {
    return "eunknown failure";
  }
}

[[noreturn]] void throw_of(int rank, const std::string& text) {
  const std::string message = concat("rank ", rank, ": ", text.substr(1));
  switch (text.front()) {
    case 's':
      throw ShapeError(message);
    case 'c':
      throw ConfigError(message);
    case 'f':
      throw DataError(message);
    case 'm':
      throw DeviceError(message);
    default:
      throw Error(message);
  }
}

}  // namespace

void agree_on_failure(Communicator& ranks, const std::exception_ptr& here) {
  if (!any_of(ranks, here != nullptr)) return;
  const std::vector<std::string> texts = gather_texts(ranks, text_of(here));
  if (here) std::rethrow_exception(here);
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    if (!texts[rank].empty()) throw_of(static_cast<int>(rank), texts[rank]);
  }
}

Agree agree_with_nobody() {
  return [](const std::exception_ptr& here) {
    if (here) std::rethrow_exception(here);
  };
}

}  // namespace trident
