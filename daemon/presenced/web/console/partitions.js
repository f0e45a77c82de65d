// Which partitions of Kafka a worker has, and so which clients this page is about.

import { $, plural } from "./text.js";

/** Whether a worker must show no clients, because others may have its partitions. */
export const isHidden = (partitions) => partitions !== null && !partitions.shown;

/** Say which partitions a worker has; null if there are none. */
export function showPartitions(partitions) {
  $("partitions").hidden = partitions === null;
  $("partitions").textContent = partitions === null ? "" : ownedText(partitions);
}

function ownedText({ owned, of, shown }) {
  const all = "Grafana shows the whole fleet.";
  if (!shown) return `This worker shows no clients until Kafka confirms that it still has its partitions. ${all}`;
  if (!owned.length) return `This worker has no partitions at present. ${all}`;
  if (owned.length === of) return `This worker has all ${plural(of, "partition")}.`;
  const numbers = `partition${owned.length === 1 ? "" : "s"} ${ranges(owned)}`;
  return `This worker has ${numbers} of ${of}: all on this page is about these. ${all}`;
}

/** Sorted numbers as text, three and more in a row as a range. */
function ranges(numbers) {
  const runs = [];
  for (const each of numbers) {
    if (runs.at(-1)?.at(-1) === each - 1) runs.at(-1).push(each);
    else runs.push([each]);
  }
  return runs.map((run) => (run.length > 2 ? `${run[0]}-${run.at(-1)}` : run.join(", "))).join(", ");
}
