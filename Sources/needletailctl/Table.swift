// Tables as etcdctl draws them: headings centred, cells to the right.

struct Table {
  let headings: [String]
  var rows: [[String]] = []

  var text: String {
    let widths = headings.indices.map { column in
      rows.reduce(headings[column].count) { max($0, column < $1.count ? $1[column].count : 0) }
    }
    let rule = "+" + widths.map { String(repeating: "-", count: $0 + 2) + "+" }.joined() + "\n"
    var text = rule + line(headings, widths, centred) + rule
    for row in rows { text += line(row, widths, toTheRight) }
    return text + rule
  }

  private func line(_ cells: [String], _ widths: [Int], _ place: (String, Int) -> String) -> String {
    "|" + zip(cells, widths).map { " " + place($0, $1) + " |" }.joined() + "\n"
  }

  private func centred(_ text: String, _ width: Int) -> String {
    let room = max(0, width - text.count)
    return String(repeating: " ", count: room / 2) + text + String(repeating: " ", count: room - room / 2)
  }

  private func toTheRight(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
