// The script of the shared worker: opens the door of its hub to every tab that connects. Owns
// nothing else.

import { HubDoor } from "./hub-door.js";

const door = new HubDoor();

addEventListener("connect", (event) => {
  const [port] = (event as MessageEvent).ports;
  if (port) door.accept(port);
});
