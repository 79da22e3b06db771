// Which kind of history a file is, told by its first line.

enum HistoryFormat {
  case jepsen, keyValue, needletail

  init(_ file: [UInt8]) throws(HistoryError) {
    var lines = Lines(file)
    guard let (number, text) = lines.next() else { throw HistoryError("the file is empty") }
    if text.drop(while: { $0 == 32 || $0 == 9 }).first == UInt8(ascii: "{") {
      let map = try EDNMap(text, line: number)
      self = map["history"] == nil ? .keyValue : .needletail
    } else if let first = text.split(whereSeparator: { $0 == 32 || $0 == 9 }).first,
      ["INFO", "WARN", "DEBUG", "ERROR", "TRACE"].contains(String(decoding: first, as: UTF8.self))
    {
      self = .jepsen
    } else {
      throw HistoryError(line: number, "neither a Jepsen log, nor a key-value log, nor a history of this project's")
    }
  }
}
