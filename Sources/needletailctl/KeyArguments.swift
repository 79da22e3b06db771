// Which keys a command line names: KEY, KEY END, --prefix, --from-key.

import NeedletailClient

extension ParsedLine {
  /// The keys that the arguments and flags name together; etcdctl's rules and words.
  func keyRange(_ command: String) throws(Failure) -> KeyRange {
    let isPrefix = isOn("prefix")
    let isFrom = isOn("from-key")
    if isPrefix && isFrom {
      throw .message("`--prefix` and `--from-key` cannot be set at the same time, choose one")
    }
    guard let key = arguments.first, arguments.count <= 2 else {
      throw .message("\(command) command needs one argument as key and an optional argument as range_end")
    }
    guard arguments.count == 2 else { return isPrefix ? .prefix(key) : isFrom ? .from(key) : .key(key) }
    if isPrefix || isFrom {
      throw .message("too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
    }
    return .range(key, end: arguments[1])
  }
}
